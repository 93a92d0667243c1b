#include "ort/api/library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "deploykit/error.hpp"
#include "deploykit/model.hpp"

#ifndef DEPLOYKIT_ONNXRUNTIME_LIBRARY
#define DEPLOYKIT_ONNXRUNTIME_LIBRARY ""
#endif

namespace deploykit {
namespace ort {
namespace {

using BaseFunction = const ApiBase*() noexcept;

std::mutex mutex;
std::string chosen;

const ApiBase* base_of(void* handle) {
  void* symbol = dlsym(handle, "OrtGetApiBase");
  return symbol == nullptr ? nullptr : reinterpret_cast<BaseFunction*>(symbol)();
}

// One that was named must load; of the others the first that does.
const ApiBase* find_base() {
  const char* variable = std::getenv("DEPLOYKIT_ONNXRUNTIME");
  const std::string named = !chosen.empty() ? chosen : variable != nullptr ? variable : "";
  std::vector<std::string> candidates;
  if (!named.empty()) {
    candidates = {named};
  } else {
    // A program that links ONNX Runtime itself must not get a second copy of it.
    if (const ApiBase* base = base_of(RTLD_DEFAULT)) return base;
    candidates = {DEPLOYKIT_ONNXRUNTIME_LIBRARY, "libonnxruntime.so.1", "libonnxruntime.so"};
  }
  std::string reasons;
  for (const std::string& path : candidates) {
    if (path.empty()) continue;
    // Never closed: its threads and the thread-local state of every caller refer to its code.
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      if (const ApiBase* base = base_of(handle)) return base;
      reasons += (reasons.empty() ? "" : "; ") + path + ": it has no OrtGetApiBase";
    } else {
      const char* reason = dlerror();
      reasons += (reasons.empty() ? "" : "; ") + std::string(reason == nullptr ? path : reason);
    }
  }
  throw DependencyError("onnxruntime is needed to run this model, but its library cannot be loaded (" + reasons + ").",
                        "Install it with: pip install 'deploykit[cpu]', and name its libonnxruntime.so in the variable "
                        "DEPLOYKIT_ONNXRUNTIME");
}

std::string folder_of(const ApiBase* base) {
  Dl_info place{};
  if (dladdr(reinterpret_cast<const void*>(base->get_api), &place) == 0 || place.dli_fname == nullptr) return "";
  const std::string path = place.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

Library load() {
  const ApiBase* base = find_base();
  Library loaded;
  loaded.version = base->get_version_string();
  loaded.folder = folder_of(base);
  const auto* table = static_cast<void* const*>(base->get_api(kApiVersion));
  if (table == nullptr) {
    throw DependencyError("Wanted ONNX Runtime 1." + std::to_string(kApiVersion) + " or later, found " +
                          loaded.version + ".");
  }
#define DEPLOYKIT_ORT_LOAD(position, name, result, arguments) \
  loaded.functions.name = reinterpret_cast<result(*) arguments noexcept>(table[position]);
  DEPLOYKIT_ORT_FUNCTIONS(DEPLOYKIT_ORT_LOAD)
  // Older versions return null here after a line on stderr, so the version is looked at first.
  const int minor = std::atoi(loaded.version.c_str() + loaded.version.find('.') + 1);
  if (minor >= static_cast<int>(kPlacementApiVersion)) {
    table = static_cast<void* const*>(base->get_api(kPlacementApiVersion));
    DEPLOYKIT_ORT_FUNCTIONS_24(DEPLOYKIT_ORT_LOAD)
  }
#undef DEPLOYKIT_ORT_LOAD
  constexpr int kDeviceAllocator = 0;
  constexpr int kDefaultMemory = 0;
  const auto require = [&](Status* status) {
    if (status == nullptr) return;
    std::string message = loaded.functions.GetErrorMessage(status);
    loaded.functions.ReleaseStatus(status);
    throw RuntimeUnavailableError("ONNX Runtime " + loaded.version + " cannot start: " + message);
  };
  require(loaded.functions.CreateEnv(kLogFatal, "deploykit", &loaded.env));
  require(loaded.functions.GetAllocatorWithDefaultOptions(&loaded.allocator));
  require(loaded.functions.CreateCpuMemoryInfo(kDeviceAllocator, kDefaultMemory, &loaded.cpu_memory));
  return loaded;
}

// A line without the place in ONNX Runtime's sources where it was noticed.
std::string without_sources(const std::string& line) {
  const std::size_t start = line.find("/onnxruntime_src/");
  const std::size_t end = start == std::string::npos ? start : line.find(") ", start);
  if (end == std::string::npos || end + 2 == line.size()) return line;
  const std::size_t last = line.find_last_not_of(' ', start == 0 ? std::string::npos : start - 1);
  return (start == 0 || last == std::string::npos ? "" : line.substr(0, last + 1) + " ") + line.substr(end + 2);
}

std::string worded(int status, const std::string& message) {
  static const char* const names[] = {"SUCCESS",           "FAIL",
                                      "INVALID_ARGUMENT",  "NO_SUCHFILE",
                                      "NO_MODEL",          "ENGINE_ERROR",
                                      "RUNTIME_EXCEPTION", "INVALID_PROTOBUF",
                                      "MODEL_LOADED",      "NOT_IMPLEMENTED",
                                      "INVALID_GRAPH",     "EP_FAIL"};
  const bool known = status >= 0 && status <= kEpFail;
  const std::string line = "[ONNXRuntimeError] : " + std::to_string(status) + " : " +
                           (known ? names[status] : "GENERAL ERROR") + " : " + message;
  return without_sources(line.substr(0, line.find('\n'))).substr(0, 300);
}

}  // namespace

const Library& library() {
  // Never destroyed: models that live in static variables may outlive any other static.
  static const Library* const loaded = [] {
    const std::lock_guard<std::mutex> lock(mutex);
    return new Library(load());
  }();
  return *loaded;
}

void choose_library(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex);
  chosen = path;
}

Failure::Failure(int status, const std::string& message)
    : Error(ErrorCode::other, "ONNX Runtime " + library().version + " failed: " + worded(status, message), ""),
      status_(status),
      line_(worded(status, message)),
      message_(message) {}

void check(Status* status) {
  if (status == nullptr) return;
  const Functions& functions = library().functions;
  const int code = functions.GetErrorCode(status);
  const std::string message = functions.GetErrorMessage(status);
  functions.ReleaseStatus(status);
  throw Failure(code, message);
}

}  // namespace ort

void use_onnxruntime(const std::string& path) { ort::choose_library(path); }

std::string onnxruntime_version() { return ort::library().version; }

}  // namespace deploykit
