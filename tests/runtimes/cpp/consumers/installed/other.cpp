// A second translation unit with the same headers; an exception of the library is caught by its class.
#include <deploykit/deploykit.h>
#include <deploykit/deploykit.hpp>

int count_errors() {
  try {
    deploykit::Model("missing.onnx");
  } catch (const deploykit::ModelError&) {
    return 1;
  }
  return 0;
}
