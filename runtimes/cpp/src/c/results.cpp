// The C ABI: what predictions and tensors hold.

#include "c/objects.hpp"

namespace {

const deploykit::Result* item_of(const deploykit_results* results, size_t index) {
  return results != nullptr && index < results->items.size() ? &results->items[index] : nullptr;
}

const deploykit::Result* with_detection(const deploykit_results* results, size_t index, size_t item) {
  const deploykit::Result* result = item_of(results, index);
  return result != nullptr && item < result->detections.size() ? result : nullptr;
}

}  // namespace

void deploykit_results_free(deploykit_results* results) { delete results; }

size_t deploykit_result_count(const deploykit_results* results) {
  return results == nullptr ? 0 : results->items.size();
}

const char* deploykit_result_json(deploykit_results* results, size_t index) {
  const deploykit::Result* result = item_of(results, index);
  if (result == nullptr) return nullptr;
  deploykit_error* error = deploykit::guarded([&] {
    results->json.resize(results->items.size());
    if (results->json[index].empty()) results->json[index] = to_json(*result);
  });
  deploykit_error_free(error);
  return error == nullptr ? results->json[index].c_str() : nullptr;
}

size_t deploykit_class_score_count(const deploykit_results* results, size_t index) {
  const deploykit::Result* result = item_of(results, index);
  return result == nullptr ? 0 : result->top.size();
}

size_t deploykit_detection_count(const deploykit_results* results, size_t index) {
  const deploykit::Result* result = item_of(results, index);
  return result == nullptr ? 0 : result->detections.size();
}

int deploykit_class_score_get(const deploykit_results* results, size_t index, size_t item,
                              deploykit_class_score* found) {
  const deploykit::Result* result = item_of(results, index);
  if (result == nullptr || item >= result->top.size() || found == nullptr) return 0;
  const deploykit::ClassScore& entry = result->top[item];
  // The names end with a zero: they are views of whole std::strings.
  *found = {entry.class_id, entry.name.data(), entry.score};
  return 1;
}

int deploykit_detection_get(const deploykit_results* results, size_t index, size_t item, deploykit_detection* found) {
  const deploykit::Result* result = with_detection(results, index, item);
  if (result == nullptr || found == nullptr) return 0;
  const deploykit::Detection& entry = result->detections[item];
  deploykit::RotatedBox rotated;
  if (item < result->rotated.size()) rotated = result->rotated[item];
  *found = {entry.class_id,
            entry.name.data(),
            entry.score,
            {entry.box.x1, entry.box.y1, entry.box.x2, entry.box.y2},
            {rotated.x, rotated.y, rotated.width, rotated.height, rotated.angle}};
  return 1;
}

const uint8_t* deploykit_detection_mask(const deploykit_results* results, size_t index, size_t item) {
  const deploykit::Result* result = with_detection(results, index, item);
  return result == nullptr || result->masks.empty() ? nullptr : result->mask(item);
}

const float* deploykit_detection_keypoints(const deploykit_results* results, size_t index, size_t item, size_t* points,
                                           size_t* dims) {
  const deploykit::Result* result = with_detection(results, index, item);
  if (result == nullptr || result->keypoints.empty()) return nullptr;
  if (points != nullptr) *points = result->keypoint_count;
  if (dims != nullptr) *dims = result->keypoint_dims;
  return result->keypoints.data() + item * result->keypoint_count * result->keypoint_dims;
}

void deploykit_tensors_free(deploykit_tensors* tensors) { delete tensors; }

size_t deploykit_tensor_count(const deploykit_tensors* tensors) {
  return tensors == nullptr ? 0 : tensors->items.size();
}

int deploykit_tensor_get(const deploykit_tensors* tensors, size_t index, deploykit_tensor* found) {
  if (tensors == nullptr || index >= tensors->items.size() || found == nullptr) return 0;
  const deploykit::Tensor& tensor = tensors->items[index];
  *found = {tensor.name.c_str(), static_cast<int>(tensor.dtype), tensor.shape.data(), tensor.shape.size(), tensor.data};
  return 1;
}
