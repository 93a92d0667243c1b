// Pseudo-random numbers and pictures that every language makes alike, to the bit.
//
// The generator is SplitMix64 (G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number Generators,
// OOPSLA 2014), whose n-th number needs none of those before it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace deploykit::selftest {

// Pixels [height, width, channels].
struct Picture {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::vector<std::uint8_t> pixels;
};

using Shape4 = std::array<std::int64_t, 4>;

// Number `index`, from 0, of the generator that starts at `seed`.
std::uint64_t random_number(std::uint64_t seed, std::uint64_t index);

// Uniform pixels [N, H, W, C]: the highest byte of each number, in the order of memory.
std::vector<std::uint8_t> noise(std::uint64_t seed, const Shape4& shape);

// A small picture as a batch of images [N, H, W, C]: scaled, and each image another view of it. Image n is mirrored
// where n is odd and upside down where n / 2 is. Channel c is channel c % C' of the picture, its columns turned by
// 7 * (c / C'). Between pixels, values are interpolated in whole numbers: 8 bits of fraction each way, rounded once.
std::vector<std::uint8_t> views(const Picture& picture, const Shape4& shape);

// The contrast halved `halvings` times, towards 128.
void soften(std::vector<std::uint8_t>& pixels, std::int64_t halvings);

// Where `count` samples of `size` values are taken: one in each of as many equal stretches, or all.
std::vector<std::int64_t> positions(std::int64_t size, std::int64_t count);

}  // namespace deploykit::selftest
