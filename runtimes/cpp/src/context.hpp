// What one running call needs. A model keeps the contexts of finished calls for the next ones, so that
// calls in steady state allocate nothing of their own.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "answers/decode.hpp"
#include "ort/engine.hpp"
#include "pixels/preprocess.hpp"

namespace deploykit {

struct Context {
  PreprocessScratch preprocess;
  std::vector<float> tensor;
  std::vector<std::uint16_t> halves;
  std::vector<std::uint8_t> raw;
  std::array<float, 2> thresholds{};  // the graph's inputs conf and iou
  std::vector<ort::OwnedValue> inputs;
  std::vector<const ort::Value*> feeds;
  std::shared_ptr<Outputs> outputs;
  DecodeScratch decode;
  std::vector<ImageView> images;
  std::vector<Geometry> geometries;
};

class ContextPool {
 public:
  std::unique_ptr<Context> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<Context>();
    std::unique_ptr<Context> context = std::move(free_.back());
    free_.pop_back();
    return context;
  }

  void give_back(std::unique_ptr<Context> context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(context));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Context>> free_;
};

// A context for the length of a scope. One that an exception leaves is thrown away.
class Lease {
 public:
  explicit Lease(ContextPool& pool) : pool_(pool), context_(pool.take()) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  Context& operator*() { return *context_; }
  void give_back() { pool_.give_back(std::move(context_)); }

 private:
  ContextPool& pool_;
  std::unique_ptr<Context> context_;
};

}  // namespace deploykit
