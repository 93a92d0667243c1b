#include "answers/value_checks.hpp"

#include <cmath>
#include <cstring>
#include <string>

#include "deploykit/error.hpp"
#include "contract/readings.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr double kSlack = 1e-3;

[[noreturn]] void refuse(const Spec& spec, const std::string& found) {
  const OutputReading* reading = reading_of(spec);
  throw ModelError("The model's outputs are not what " + std::string(reading == nullptr ? "" : reading->name) +
                       " means: found " + found + ".",
                   "If they mean something else, say it: --outputs NAME.");
}

}  // namespace

void check_scores(const Values& scores, const Spec& spec, float least) {
  if (scores.rows == 0 || scores.columns == 0) return;
  float low = *scores.first;
  float high = low;
  bool numbers = true;
  const float* row = scores.first;
  for (std::int64_t i = 0; i < scores.rows; ++i, row += scores.stride) {
    for (std::int64_t k = 0; k < scores.columns; ++k) {
      numbers = numbers && row[k] == row[k];
      if (row[k] < low) low = row[k];
      if (row[k] > high) high = row[k];
    }
  }
  if (numbers && low >= least - kSlack && high <= 1 + kSlack) return;
  const auto text = [&](float value) { return numbers ? short_number(static_cast<double>(value)) : std::string("nan"); };
  refuse(spec, "scores from " + text(low) + " to " + text(high) + ", wanted 0 to 1");
}

void check_numbers(const Values& scores) {
  // NaN is what lies above infinity, so that adding the difference carries into the sign. Without a branch, which
  // lets compilers work on many values at once.
  std::uint32_t seen = 0;
  const float* row = scores.first;
  for (std::int64_t i = 0; i < scores.rows; ++i, row += scores.stride) {
    for (std::int64_t k = 0; k < scores.columns; ++k) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, row + k, sizeof bits);
      seen |= (bits & 0x7fffffffU) + 0x007fffffU;
    }
  }
  if (seen >> 31 == 0) return;
  throw ModelError("The model's scores hold NaN.", "Run `deploykit selftest` on it; half precision can overflow.");
}

void check_whole(const Values& numbers, const Spec& spec, const char* what) {
  const float* row = numbers.first;
  for (std::int64_t i = 0; i < numbers.rows; ++i, row += numbers.stride) {
    if (std::nearbyint(*row) == *row) continue;
    refuse(spec, std::string("a ") + what + " of " + short_number(static_cast<double>(*row)) +
                     ", wanted a whole number");
  }
}

void check_class_scores(const Values& scores, const Spec& spec) {
  if (spec.output.layout == Layout::probabilities) return check_scores(scores, spec);
  if (spec.output.activation != Activation::softmax || scores.columns < 2) return;
  const float* row = scores.first;
  for (std::int64_t i = 0; i < scores.rows; ++i, row += scores.stride) {
    double sum = 0;
    for (std::int64_t k = 0; k < scores.columns; ++k) {
      if (!(row[k] >= 0)) return;
      sum += static_cast<double>(row[k]);
    }
    if (!(std::abs(sum - 1) < kSlack)) return;
  }
  if (scores.rows > 0) refuse(spec, "scores that add up to 1, which are probabilities");
}

}  // namespace deploykit
