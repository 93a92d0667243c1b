#include "selftest/run.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <set>

#include "deploykit/error.hpp"
#include "selftest/cases.hpp"
#include "selftest/compare.hpp"
#include "selftest/inputs.hpp"
#include "text/text.hpp"

namespace deploykit::selftest {
namespace {

// The precisions for which tolerances are measured, the most exact first.
constexpr std::array<const char*, 5> kPrecisions{"fp32", "tf32", "fp16", "bf16", "int8"};

// Those that every comparison of the file has tolerances for.
std::set<std::string> known_precisions(const std::vector<Case>& cases) {
  std::set<std::string> known;
  bool first = true;
  for (const Case& golden : cases) {
    for (const Kept& kept : golden.kept) {
      const Tolerances& tolerances = tolerances_of(kept);
      if (first) {
        for (const auto& entry : tolerances) known.insert(entry.first);
      }
      first = false;
      for (auto name = known.begin(); name != known.end();) {
        name = tolerances.count(*name) > 0 ? std::next(name) : known.erase(name);
      }
    }
  }
  return known;
}

// The lowest of the precisions that an engine uses. A file whose weights are rounded has no tolerances for the
// most exact ones: an engine that computes in those is judged by the next that it has.
std::string judged(const std::string& precision, const std::vector<Case>& cases) {
  const std::set<std::string> known = known_precisions(cases);
  std::vector<std::string> order(kPrecisions.begin(), kPrecisions.end());
  for (const std::string& name : known) {  // others come after ours, in the order of their names
    if (std::find(kPrecisions.begin(), kPrecisions.end(), name) == kPrecisions.end()) order.push_back(name);
  }
  const auto is_known = [&](const std::string& name) { return known.count(name) > 0; };
  auto lowest = order.begin();
  for (const std::string& name : split(precision, '+')) {
    const auto found = std::find_if(std::find(order.begin(), order.end(), name), order.end(), is_known);
    if (found == order.end()) {
      const std::string names = join({known.begin(), known.end()}, ", ");
      throw ModelError("The engine computes in " + precision + ", the golden cases have tolerances for " +
                           (names.empty() ? "none" : names) + ".",
                       "Run the file in its own precision: --precision model.");
    }
    lowest = std::max(lowest, found);
  }
  return *lowest;
}

// Why an engine does not take a case, that was built for less than the file allows.
std::string outside(const Case& golden, const Spec& spec) {
  struct Wanted {
    const char* axis;
    std::int64_t size;
    std::int64_t fixed;
  };
  std::vector<Wanted> all{{"batch", golden.batch, spec.input.batch}};
  if (golden.stage == Stage::tensor || spec.preprocess.included) {
    all.push_back({"height", golden.height, spec.input.height});
    all.push_back({"width", golden.width, spec.input.width});
  }
  for (const auto& [axis, size, fixed] : all) {
    const AxisRange* allowed = spec.input.range(axis);
    if (allowed == nullptr && size != fixed) {
      return std::string("the engine's ") + axis + " is fixed to " + std::to_string(fixed);
    }
    if (allowed != nullptr && !allowed->contains(size)) {
      return std::string("the engine takes a ") + axis + " of " + to_string(*allowed);
    }
  }
  return {};
}

CaseResult run(const Subject& subject, const Case& golden, const std::string& precision) {
  CaseResult result;
  result.title = golden.title();
  result.skipped = outside(golden, subject.spec);
  if (!result.skipped.empty()) return result;
  try {
    CaseFeeds made;
    feeds_of(golden, subject.spec, made);
    const std::vector<Tensor> outputs = subject.infer(made.feeds);
    for (const Kept& kept : golden.kept) {
      result.outputs.push_back(difference(outputs, kept, subject.spec, precision));
    }
  } catch (const Error& error) {
    result.outputs.clear();
    result.error = error.problem();
  }
  return result;
}

}  // namespace

SelfTest self_test(const Subject& subject) {
  const auto started = std::chrono::steady_clock::now();
  const std::vector<Case> cases = cases_from_keys(subject.metadata);
  if (cases.empty()) {
    throw ModelError("The model file carries no golden cases.", "Export the model again: deploykit export CKPT");
  }
  SelfTest found;
  found.placement = subject.placement;
  found.precision = judged(found.placement.precision, cases);
  for (const Case& golden : cases) found.cases.push_back(run(subject, golden, found.precision));
  found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return found;
}

}  // namespace deploykit::selftest
