// Hostile metadata: any text may be refused, none may crash. What is taken must also be followed: an
// image is planned and pre-processed by it.

#include <map>
#include <string>

#include "deploykit/error.hpp"
#include "deploykit/spec.hpp"
#include "foreign.hpp"
#include "preprocess.hpp"

namespace {

using Metadata = std::map<std::string, std::string>;

// "key=value" lines, over a contract that is valid.
Metadata metadata_of(const std::string& text) {
  Metadata metadata{{"deploykit.format", "1"},
                    {"deploykit.task", "detect"},
                    {"deploykit.family", "f"},
                    {"deploykit.variant", "v"},
                    {"deploykit.origin", "o"},
                    {"deploykit.input.height", "32"},
                    {"deploykit.input.width", "32"},
                    {"deploykit.input.dynamic.height", "1 256 1"},
                    {"deploykit.input.dynamic.width", "1 256 1"},
                    {"deploykit.output.names", "a b"},
                    {"deploykit.output.layout", "yolo"}};
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t stop = std::min(text.find('\n', start), text.size());
    const std::string line = text.substr(start, stop - start);
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos) metadata["deploykit." + line.substr(0, equals)] = line.substr(equals + 1);
    start = stop + 1;
  }
  return metadata;
}

void follow(const deploykit::Spec& spec) {
  const auto normalisation = deploykit::normalisation_of(spec.preprocess);
  const std::uint8_t pixels[20 * 31 * 3] = {};
  const deploykit::Geometry plan = deploykit::plan_geometry({20, 31}, spec.preprocess, spec.tensor(), std::nullopt);
  if (plan.input_size[0] * plan.input_size[1] > 1 << 20) return;
  std::vector<float> out(static_cast<std::size_t>(3 * plan.input_size[0] * plan.input_size[1]));
  deploykit::PreprocessScratch scratch;
  deploykit::render(deploykit::pixels_of({pixels, 20, 31}), plan, spec.preprocess, normalisation, false, out.data(),
                    scratch);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    follow(deploykit::spec_from_metadata(metadata_of(text)));
  } catch (const deploykit::Error&) {
    // Refused: that is what should happen to most of it.
  }
  deploykit::TensorInfo image{"images", deploykit::DType::float32, "float32", {1, 3, -1, -1}, {"", "", "h", "w"}};
  deploykit::TensorInfo head{"output0", deploykit::DType::float32, "float32", {1, 84, 8400}, {"", "", ""}};
  try {
    deploykit::infer_spec({image}, {head}, {{"task", "pose"}, {"names", text}, {"kpt_shape", text}, {"imgsz", "64"}});
  } catch (const deploykit::Error&) {
    return 0;
  }
  return 0;
}
