// The golden cases that a model file carries, on the engine that runs it (docs/spec.md defines them).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deploykit/config.h"
#include "deploykit/placement.hpp"

namespace deploykit {

// How far one output, or a slice of it, is from what the checkpoint answered.
struct Difference {
  std::string output;
  std::string part;    // what of it is worst: "sample", "mean", "score", "box", "extra"; or why it cannot be judged
  double found = 0;    // the largest difference of that
  double allowed = 0;  // the tolerance
  double scale = 0;    // the largest value of what was kept of it
  std::int64_t agreed = 0;   // how many answers agree (best classes, best boxes, rows)
  std::int64_t answers = 0;  // of how many
  bool ok = true;            // whether everything is within its tolerance and the answers agree
};

struct DEPLOYKIT_API CaseResult {
  std::string title;                // "photo 3x224x224": number, height and width of its images
  std::vector<Difference> outputs;  // empty where the case did not run
  std::string skipped;              // why it did not run: the engine takes other shapes
  std::string error;                // what the engine said where it failed

  bool ok() const;
};

struct DEPLOYKIT_API SelfTest {
  Placement placement;
  std::string precision;  // by whose tolerances it was judged
  std::vector<CaseResult> cases;
  double seconds = 0;

  // Whether a case ran, and every one that did is within its tolerances.
  bool ok() const;
  // Which case failed, and by how much; empty where none did.
  std::string problem() const;
  // "self-test passed: 6 golden cases at fp32, at most 4 % of the tolerance used, 0.31 s"
  std::string summary() const;
};

// The same document as Python's SelfTest.to_dict().
DEPLOYKIT_API std::string to_json(const SelfTest& found);

}  // namespace deploykit
