// The pre-processing against what the training codes themselves made of the photos.

#include "pixels/preprocess.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.hpp"
#include "deploykit/error.hpp"
#include "golden_files.hpp"
#include "ort/half.hpp"

namespace {

using deploykit::Spec;

Spec contract_of(golden::Block block) {
  for (const char* key : {"task", "family", "variant", "origin"}) block[std::string("deploykit.") + key] = "features";
  block["deploykit.output.names"] = "features";
  block["deploykit.output.layout"] = "features";
  return deploykit::spec_from_metadata(block);
}

std::string pair_text(const std::array<std::int64_t, 2>& pair) {
  return std::to_string(pair[0]) + " " + std::to_string(pair[1]);
}

std::vector<float> rendered(const deploykit::ImageView& image, const Spec& spec, const deploykit::Geometry& geometry,
                            bool channels_last = false) {
  std::vector<float> out(static_cast<std::size_t>(3 * geometry.input_size[0] * geometry.input_size[1]));
  deploykit::PreprocessScratch scratch;
  deploykit::render(deploykit::pixels_of(image), geometry, spec.preprocess,
                    deploykit::normalisation_of(spec.preprocess), channels_last, out.data(), scratch);
  return out;
}

deploykit::Geometry plan(const golden::Photo& photo, const Spec& spec) {
  return deploykit::plan_geometry({photo.height, photo.width}, spec.preprocess, spec.tensor(), std::nullopt);
}

}  // namespace

TEST(golden_tensors) {
  const auto blocks = golden::read_blocks(check::golden() + "/preprocess/index.txt");
  CHECK(blocks.size() > 10);
  for (const auto& block : blocks) {
    const Spec spec = contract_of(block);
    const golden::Photo photo = golden::read_photo(block.at("image"));
    const deploykit::Geometry geometry = plan(photo, spec);
    CHECK_EQUAL(pair_text(geometry.resized), block.at("resized"));
    CHECK_EQUAL(pair_text(geometry.offset), block.at("offset"));
    const auto bytes =
        golden::read_bytes(check::golden() + "/preprocess/" + golden::parse_entry(block.at("tensor")).file);
    const auto found = rendered({photo.pixels.data(), photo.height, photo.width}, spec, geometry);
    CHECK_EQUAL(found.size() * sizeof(float), bytes.size());
    std::vector<float> wanted(found.size());
    std::memcpy(wanted.data(), bytes.data(), bytes.size());
    float worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      worst = std::max(worst, std::abs(found[i] - wanted[i]) - 1e-5F * std::abs(wanted[i]));
    }
    if (worst > 2e-6F) check::fail(__FILE__, __LINE__, block.at("name") + " differs by " + std::to_string(worst));
  }
}

TEST(every_pixel_format_gives_the_same_tensor) {
  for (const auto& block : golden::read_blocks(check::golden() + "/preprocess/index.txt")) {
    const Spec spec = contract_of(block);
    const golden::Photo photo = golden::read_photo(block.at("image"));
    const deploykit::Geometry geometry = plan(photo, spec);
    const auto wanted = rendered({photo.pixels.data(), photo.height, photo.width}, spec, geometry);
    // Blue first, a fourth byte per pixel, and five bytes at the end of every row.
    const std::int64_t row_bytes = 4 * photo.width + 5;
    std::vector<std::uint8_t> other(static_cast<std::size_t>(row_bytes * photo.height), 99);
    for (std::int64_t i = 0; i < photo.height * photo.width; ++i) {
      std::uint8_t* pixel = other.data() + i / photo.width * row_bytes + i % photo.width * 4;
      for (std::int64_t c = 0; c < 3; ++c) pixel[2 - c] = photo.pixels[static_cast<std::size_t>(3 * i + c)];
    }
    const deploykit::ImageView view(other.data(), photo.height, photo.width, 4, deploykit::ColorOrder::bgr, row_bytes);
    CHECK(rendered(view, spec, geometry) == wanted);
    const auto last = rendered(view, spec, geometry, true);
    const std::size_t plane = wanted.size() / 3;
    bool same = true;
    for (std::size_t i = 0; i < wanted.size(); ++i) same = same && last[i] == wanted[i % 3 * plane + i / 3];
    CHECK(same);
  }
}

TEST(images_that_are_none) {
  const std::uint8_t pixel[3] = {1, 2, 3};
  CHECK_THROWS(deploykit::pixels_of({pixel, 0, 1}), deploykit::InputError);
  CHECK_THROWS(deploykit::pixels_of({pixel, 1, 1, 2}), deploykit::InputError);
  CHECK_THROWS(deploykit::pixels_of({nullptr, 1, 1}), deploykit::InputError);
  CHECK_THROWS(deploykit::pixels_of({pixel, 1, 1, 3, deploykit::ColorOrder::rgb, 2}), deploykit::InputError);
}

TEST(channels_as_they_are) {
  // Resized each by itself, in any number: three of them give what colours give, a fourth gives the first again.
  for (auto block : golden::read_blocks(check::golden() + "/preprocess/index.txt")) {
    if (block["deploykit.preprocess.color"] == "bgr") continue;
    const golden::Photo photo = golden::read_photo(block.at("image"));
    const Spec colours = contract_of(block);
    const deploykit::Geometry geometry = plan(photo, colours);
    const auto wanted = rendered({photo.pixels.data(), photo.height, photo.width}, colours, geometry);

    block["deploykit.input.channels"] = "4";
    block["deploykit.preprocess.color"] = "as_is";
    for (const char* key : {"deploykit.preprocess.mean", "deploykit.preprocess.std"}) {
      if (block.count(key) != 0) block[key] += " " + block[key].substr(0, block[key].find(' '));
    }
    const Spec spec = contract_of(block);
    const deploykit::PixelFormat format = deploykit::format_of(spec);
    std::vector<std::uint8_t> four;
    for (std::size_t i = 0; i < photo.pixels.size(); i += 3) {
      for (const std::size_t c : {0U, 1U, 2U, 0U}) four.push_back(photo.pixels[i + c]);
    }
    const deploykit::ImageView view(four.data(), photo.height, photo.width, 4, deploykit::ColorOrder::bgr);
    deploykit::PreprocessScratch scratch;
    const auto normalisation = deploykit::normalisation_of(spec.preprocess, 4);
    const std::size_t plane = wanted.size() / 3;
    std::vector<float> found(4 * plane);
    deploykit::render(deploykit::pixels_of(view, format), geometry, spec.preprocess, normalisation, false, found.data(),
                      scratch);
    CHECK(std::equal(wanted.begin(), wanted.end(), found.begin()));
    CHECK(std::equal(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(plane),
                     found.begin() + static_cast<std::ptrdiff_t>(3 * plane)));
    std::vector<float> last(4 * plane);
    deploykit::render(deploykit::pixels_of(view, format), geometry, spec.preprocess, normalisation, true, last.data(),
                      scratch);
    bool same = true;
    for (std::size_t i = 0; i < last.size(); ++i) same = same && last[i] == found[i % 4 * plane + i / 4];
    CHECK(same);
    CHECK_THROWS(deploykit::pixels_of({photo.pixels.data(), photo.height, photo.width}, format), deploykit::InputError);
  }
}

TEST(colours_become_grey) {
  const std::uint8_t rgb[6] = {255, 0, 0, 10, 200, 30};
  const std::uint8_t bgra[8] = {0, 0, 255, 9, 30, 200, 10, 9};
  for (const auto library : {deploykit::Resampler::pillow, deploykit::Resampler::opencv}) {
    const deploykit::PixelFormat format{deploykit::Color::grey, 1, library};
    std::vector<std::uint8_t> memory;
    for (const deploykit::ImageView& view :
         {deploykit::ImageView{rgb, 1, 2}, deploykit::ImageView{bgra, 1, 2, 4, deploykit::ColorOrder::bgr}}) {
      const deploykit::Pixels grey = deploykit::grey_pixels(deploykit::pixels_of(view, format), library, memory);
      CHECK_EQUAL(grey.channels, 1U);
      CHECK_EQUAL(static_cast<int>(grey.first[0]), 76);
      CHECK_EQUAL(static_cast<int>(grey.first[1]), 124);
    }
  }
  const deploykit::Pixels one = deploykit::pixels_of({rgb, 2, 3, 1}, {deploykit::Color::grey, 1});
  CHECK_EQUAL(one.channels, 1U);
}

TEST(channels_that_contradict_the_colours) {
  Spec spec;
  spec.input.channels = 4;
  spec.preprocess.color = deploykit::Color::grey;
  CHECK_THROWS(deploykit::format_of(spec), deploykit::ModelError);
  CHECK_THROWS(deploykit::normalisation_of(spec.preprocess, 4), deploykit::ModelError);
  spec.preprocess.color = deploykit::Color::as_is;
  CHECK_EQUAL(deploykit::format_of(spec).channels, 4);
}

TEST(half_precision) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    CHECK_EQUAL(deploykit::to_half(deploykit::from_half(half)), half);
  }
  CHECK_EQUAL(deploykit::to_half(65519.0F), 0x7bff);
  CHECK_EQUAL(deploykit::to_half(65520.0F), 0x7c00);
  CHECK_EQUAL(deploykit::to_half(-1.0F), 0xbc00);
  CHECK_EQUAL(deploykit::to_half(1.0F + 1.0F / 2048), 0x3c00);  // half to even
  CHECK(std::isnan(deploykit::from_half(deploykit::to_half(NAN))));
}
