/* What the library exports. Both the C and the C++ headers include this. */
#ifndef DEPLOYKIT_CONFIG_H
#define DEPLOYKIT_CONFIG_H

#if defined(DEPLOYKIT_STATIC)
#define DEPLOYKIT_API
#elif defined(_WIN32) && defined(DEPLOYKIT_BUILDING)
#define DEPLOYKIT_API __declspec(dllexport)
#elif defined(_WIN32)
#define DEPLOYKIT_API __declspec(dllimport)
#else
#define DEPLOYKIT_API __attribute__((visibility("default")))
#endif

#endif
