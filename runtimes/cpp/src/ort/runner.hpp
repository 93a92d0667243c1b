// A model and its contract: the work behind deploykit::Model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context.hpp"
#include "contract/contract.hpp"
#include "deploykit/model.hpp"
#include "machine/workers.hpp"

namespace deploykit {

class Runner {
 public:
  Runner(const std::string& path, const Options& options);

  const Spec& spec() const { return contract_->spec; }
  const Engine& engine() const { return engine_; }
  Workers& workers() { return workers_; }

  void predict(const ImageView& image, const PredictOptions& options, Result& result);
  std::vector<Result> predict(const std::vector<ImageView>& images, const PredictOptions& options, Timings* timings);
  std::vector<Tensor> infer(const std::vector<Feed>& feeds) const;

 private:
  // Images of one tensor size, in context.images and context.geometries.
  void run(Context& context, const Thresholds& thresholds, Timings* timings);
  void read(Context& context, std::size_t index, const Thresholds& thresholds, Result& result) const;
  void feed_image(Context& context, std::int64_t count) const;
  void feed_raw(Context& context, std::int64_t count) const;
  void feed_tensor(Context& context, std::int64_t count) const;
  void feed_pixels(Context& context, DType dtype, const void* data, std::size_t bytes,
                   const std::array<std::int64_t, 4>& shape) const;
  void check_predictable(const PredictOptions& options) const;
  Geometry plan(const ImageView& image, const PredictOptions& options) const;
  std::int64_t batch_limit(const PredictOptions& options) const;

  Engine engine_;
  std::shared_ptr<const Contract> contract_;
  OutputTable table_;
  Normalisation normalisation_;
  std::size_t image_input_ = 0;                    // place among the graph's inputs; their number where missing
  std::array<std::size_t, 2> threshold_inputs_{};  // of conf and iou
  ContextPool contexts_;
  Workers workers_;  // the last member: its threads end before anything they use
};

}  // namespace deploykit
