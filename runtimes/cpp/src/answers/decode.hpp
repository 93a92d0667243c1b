// Raw outputs of every supported head into results in pixels of the image.
#pragma once

#include <memory>
#include <vector>

#include "contract/contract.hpp"
#include "deploykit/model.hpp"
#include "ort/engine.hpp"
#include "pixels/geometry.hpp"
#include "answers/heads.hpp"
#include "answers/masks.hpp"
#include "answers/nms.hpp"

namespace deploykit {

struct Thresholds {
  std::int64_t top_k = 5;
  double conf = 0.25;
  double iou = 0.7;
  std::int64_t max_det = 300;
};

// The model's own defaults where an option is not given.
// Throws OptionError: also where a graph with its post-processing inside has decided otherwise.
Thresholds thresholds_of(const OutputSpec& output, const PredictOptions& options);

struct DecodeScratch {
  Candidates candidates;
  HeadScratch head;
  SuppressionScratch suppression;
  MaskScratch mask;
  std::vector<float> scores;
  std::vector<std::size_t> order;
  std::vector<std::vector<float>> converted;  // outputs of another type than float32
};

// The outputs that the contract names, in its order, among those that the graph gives.
class OutputTable {
 public:
  OutputTable(const Spec& spec, const std::vector<TensorInfo>& outputs);

  // Throws ModelError where the graph lacks one that the contract names.
  void require_all() const;
  std::size_t size() const { return places_.size(); }
  std::size_t place(std::size_t index) const { return places_[index]; }
  // The contract's number of an output; size() if no output has this name.
  std::size_t find(const char* name) const;

 private:
  std::vector<std::string> names_;
  std::vector<std::size_t> places_;
  std::string problem_;
};

// One image of a batch that is being read.
struct Reading {
  const Contract& contract;
  const OutputTable& table;
  const std::shared_ptr<const Outputs>& outputs;
  std::int64_t image;
  const Geometry& geometry;
  const Thresholds& thresholds;
  Result& result;
  DecodeScratch& scratch;

  bool has(const char* name) const { return table.find(name) < table.size(); }
  const Outputs::View& view(std::size_t index) const { return (*outputs)[table.place(index)]; }
  // By name; throws ModelError where the contract has none.
  const Outputs::View& view(const char* name) const;
  // An output as float32, converted where the graph gives another type.
  FloatView floats(std::size_t index) const;
  FloatView floats(const char* name) const;
  std::string_view class_name(std::int64_t class_id) const { return contract.class_name(class_id); }
  const Spec& spec() const { return contract.spec; }
};

// Fills reading.result. Throws ModelError: an output is missing, has another shape than the contract
// says, or holds scores that are not numbers.
void decode(const Reading& reading);

void read_detections(const Reading& reading);  // of heads that leave the suppression to the host
void read_postprocessed(const Reading& reading);    // of graphs that have chosen the detections themselves

}  // namespace deploykit
