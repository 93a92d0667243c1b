// ONNX Runtime's library, loaded once per process.
//
// It is opened at run time, not linked: a program linked with a pip wheel's library runs with that
// exact version only, one that opens it runs with every version since 1.11.
#pragma once

#include <memory>
#include <string>

#include "deploykit/error.hpp"
#include "ort/api/abi.hpp"

namespace deploykit::ort {

struct Library {
  Functions functions;
  std::string version;  // "1.32.0"
  std::string folder;   // of the library's file; its providers stand beside it
  Env* env = nullptr;
  Allocator* allocator = nullptr;
  MemoryInfo* cpu_memory = nullptr;
};

// Throws DependencyError where no library can be loaded, or it is too old.
const Library& library();
void choose_library(const std::string& path);

// A failed call of ONNX Runtime.
class Failure : public Error {
 public:
  Failure(int status, const std::string& message);

  int status() const { return status_; }
  // The first line, as ONNX Runtime's Python package words it: "[ONNXRuntimeError] : 1 : FAIL : ...".
  const std::string& line() const { return line_; }
  // All of what it said.
  const std::string& message() const { return message_; }

 private:
  int status_;
  std::string line_;
  std::string message_;
};

// Throws Failure where a call failed.
void check(Status* status);

// Frees what the API handed out: Owned<Session, &Functions::ReleaseSession>.
template <class T, void (*Functions::*Release)(T*) noexcept>
struct Releaser {
  void operator()(T* object) const noexcept { (library().functions.*Release)(object); }
};
template <class T, void (*Functions::*Release)(T*) noexcept>
using Owned = std::unique_ptr<T, Releaser<T, Release>>;

using OwnedSession = Owned<Session, &Functions::ReleaseSession>;
using OwnedSessionOptions = Owned<SessionOptions, &Functions::ReleaseSessionOptions>;
using OwnedValue = Owned<Value, &Functions::ReleaseValue>;
using OwnedTypeInfo = Owned<TypeInfo, &Functions::ReleaseTypeInfo>;
using OwnedTensorInfo = Owned<TensorInfo, &Functions::ReleaseTensorTypeAndShapeInfo>;
using OwnedCudaOptions = Owned<CudaOptions, &Functions::ReleaseCUDAProviderOptions>;
using OwnedTensorRtOptions = Owned<TensorRtOptions, &Functions::ReleaseTensorRTProviderOptions>;

}  // namespace deploykit::ort
