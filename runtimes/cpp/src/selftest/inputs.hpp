// The feeds of a golden case: its pixels, pre-processed as predict does it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"
#include "selftest/cases.hpp"

namespace deploykit::selftest {

// What a model is fed, and the memory that it lies in.
struct CaseFeeds {
  CaseFeeds() = default;
  CaseFeeds(const CaseFeeds&) = delete;
  CaseFeeds& operator=(const CaseFeeds&) = delete;

  std::vector<std::uint8_t> pixels;
  std::vector<float> tensor;
  std::vector<std::uint16_t> halves;
  std::array<float, 2> thresholds{};
  std::vector<Feed> feeds;
};

// The images of a case, uint8 [N, H, W, channels]. Throws ModelError: they are more than one call may take.
std::vector<std::uint8_t> images_of(const Case& golden, std::int64_t channels);

// Throws InputError: the images would come to a size that the model does not take; ModelError: its pre-processing
// contradicts itself, or the case is larger than one call may be.
void feeds_of(const Case& golden, const Spec& spec, CaseFeeds& made);

}  // namespace deploykit::selftest
