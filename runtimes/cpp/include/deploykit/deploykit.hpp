// deploykit for C++17: one model file in, answers out, over ONNX Runtime.
//
//   #include <deploykit/deploykit.hpp>
//
//   deploykit::Model model("yolo.onnx");
//   deploykit::Result result = model.predict({pixels, height, width});
//   for (const auto& found : result.detections) use(found.name, found.score, found.box);
#pragma once

#include "deploykit/async.hpp"
#include "deploykit/error.hpp"
#include "deploykit/image.hpp"
#include "deploykit/memory.hpp"
#include "deploykit/model.hpp"
#include "deploykit/placement.hpp"
#include "deploykit/printable.hpp"
#include "deploykit/result.hpp"
#include "deploykit/self_test.hpp"
#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"
