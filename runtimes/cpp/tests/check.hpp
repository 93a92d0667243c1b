// Just enough of a test framework: named tests, checks that go on, and a count of what failed.
#pragma once

#include <functional>
#include <sstream>
#include <string>

namespace check {

struct Registration {
  Registration(const char* name, std::function<void()> test);
};

void fail(const char* file, int line, const std::string& what);

// The folder of golden vectors, from the command line.
const std::string& golden();

// Ends the whole program as skipped, with the reason.
[[noreturn]] void skip(const std::string& reason);

template <class A, class B>
void equal(const A& found, const B& wanted, const char* text, const char* file, int line) {
  if (found == wanted) return;
  std::ostringstream message;
  message << text << ": found " << found << ", wanted " << wanted;
  fail(file, line, message.str());
}

}  // namespace check

#define TEST(name)                                                   \
  static void name();                                                \
  static const check::Registration registration_##name(#name, name); \
  static void name()
#define CHECK(condition) \
  if (!(condition)) check::fail(__FILE__, __LINE__, #condition)
#define CHECK_EQUAL(found, wanted) check::equal(found, wanted, #found, __FILE__, __LINE__)
#define CHECK_THROWS(expression, error)                             \
  try {                                                             \
    (void)(expression);                                             \
    check::fail(__FILE__, __LINE__, #expression " throws nothing"); \
  } catch (const error&) {                                          \
  }
