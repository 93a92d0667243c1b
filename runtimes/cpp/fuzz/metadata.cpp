// Hostile metadata: any text may be refused, none may crash. What is taken must also be followed: an
// image is planned and pre-processed by it.

#include <map>
#include <string>

#include "deploykit/error.hpp"
#include "deploykit/spec.hpp"
#include "contract/inferred_spec.hpp"
#include "pixels/pixel_format.hpp"
#include "pixels/preprocess.hpp"
#include "contract/spec_limits.hpp"

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

// Images of some shapes, a side of one pixel among them.
constexpr deploykit::Size kImages[] = {{20, 31}, {31, 20}, {1, 620}, {620, 1}, {1, 1}, {256, 256}};

void follow(const deploykit::Spec& spec) {
  deploykit::check_spec_limits(spec);
  const deploykit::PixelFormat format = deploykit::format_of(spec);
  const auto normalisation = deploykit::normalisation_of(spec.preprocess, spec.input.channels);
  const std::int64_t channels = format.is_colour() ? 3 : format.channels;
  deploykit::PreprocessScratch scratch;
  for (const deploykit::Size& size : kImages) {
    const deploykit::Geometry plan = deploykit::plan_geometry(size, spec.preprocess, spec.tensor(), std::nullopt);
    deploykit::check_resized(plan);
    const std::int64_t values = channels * plan.input_size[0] * plan.input_size[1];
    if (values > 1 << 18 || plan.resized[0] + plan.resized[1] > 1 << 16) continue;  // too slow to try many
    const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(size.height * size.width * channels));
    std::vector<float> out(static_cast<std::size_t>(values));
    deploykit::ImageView image(pixels.data(), size.height, size.width);
    image.channels = channels;
    deploykit::render(deploykit::pixels_of(image, format), plan, spec.preprocess, normalisation, false, out.data(),
                      scratch);
  }
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
