// Calls of a session through buffers that stay on the device, one set per combination of shapes.
//
// A CUDA graph replays kernels on the addresses at which it was recorded, so its inputs and outputs must not
// move. ONNX Runtime records one graph per "gpu_graph_id"; it is recorded by the first run of a shape and
// replayed by the following ones. The same path works on the CPU, where nothing is recorded.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ort/api/library.hpp"

namespace deploykit {

using OwnedBinding = ort::Owned<ort::IoBinding, &ort::Functions::ReleaseIoBinding>;
using OwnedRunOptions = ort::Owned<ort::RunOptions, &ort::Functions::ReleaseRunOptions>;
using OwnedAllocator = ort::Owned<ort::Allocator, &ort::Functions::ReleaseAllocator>;
using OwnedMemoryInfo = ort::Owned<ort::MemoryInfo, &ort::Functions::ReleaseMemoryInfo>;

// Memory of a device, and how bytes come there and back.
class DeviceMemory {
 public:
  // `gpu` below 0 is the CPU. Throws RuntimeUnavailableError: CUDA's runtime library is not loaded.
  DeviceMemory(const ort::Session* session, int gpu);

  const ort::MemoryInfo* info() const { return info_.get(); }
  ort::OwnedValue make(int onnx_type, const std::vector<std::int64_t>& shape) const;
  void copy(void* to, const void* from, std::size_t bytes) const;
  // Waits until what was copied is there.
  void synchronise() const;

 private:
  OwnedMemoryInfo info_;
  OwnedAllocator allocator_;
  int gpu_;
  void* cuda_ = nullptr;
};

// Safe for many threads, which take turns.
class BoundCalls {
 public:
  BoundCalls(ort::Session* session, std::vector<const char*> inputs, std::vector<const char*> outputs, int gpu);

  // Outputs are the caller's own, on the host.
  void run(const ort::Value* const* inputs, std::vector<ort::OwnedValue>& outputs);

 private:
  struct Bound {
    std::vector<std::vector<std::int64_t>> shapes;
    std::vector<ort::OwnedValue> inputs;
    OwnedBinding binding;
    OwnedRunOptions options;
  };

  Bound& bound_for(const ort::Value* const* inputs);
  Bound bind(const ort::Value* const* inputs, std::vector<std::vector<std::int64_t>> shapes);
  ort::OwnedValue on_host(ort::Value* value) const;

  ort::Session* session_;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  DeviceMemory memory_;
  bool record_;
  int graphs_ = 0;
  std::mutex mutex_;
  std::list<Bound> bound_;  // the one used last is the first
};

}  // namespace deploykit
