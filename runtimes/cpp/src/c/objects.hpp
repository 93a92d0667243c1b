// What the handles of the C ABI point to.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <vector>

#include "deploykit/deploykit.h"
#include "deploykit/model.hpp"

struct deploykit_error {
  int code;
  std::string message;
  std::string problem;
  std::string hint;
};

struct deploykit_model {
  deploykit::Model model;
  std::string placement;
  std::string advice;
};

struct deploykit_results {
  std::vector<deploykit::Result> items;
  std::vector<std::string> json;  // made when it is asked for
};

struct deploykit_report {
  bool ok = false;
  std::size_t cases = 0;
  std::string problem;
  std::string summary;
  std::string json;
};

struct deploykit_tensors {
  std::vector<deploykit::Tensor> items;
};

namespace deploykit {

// Never throws: where not even the error can be stored, a constant one is returned.
deploykit_error* error_of(const Error& error) noexcept;
deploykit_error* error_of(const std::exception& error) noexcept;

// Throws OptionError where a pointer is null.
void require(const void* pointer, const char* name);

// Runs the body of a C function; nothing it throws passes.
template <class Body>
deploykit_error* guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Error& error) {
    return error_of(error);
  } catch (const std::exception& error) {
    return error_of(error);
  } catch (...) {
    return error_of(std::exception());
  }
}

}  // namespace deploykit
