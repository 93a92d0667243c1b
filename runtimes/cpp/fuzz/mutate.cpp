// Runs a fuzz target without libFuzzer: as many inputs as are asked for, the same ones for the same seed.
//
//   mutate_metadata SEED RUNS

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t kLongest = 2048;
constexpr std::size_t kPool = 256;

// Words of the contract, and what stands in their place in forged ones.
const char* const kWords[] = {
    "\n", "=", " ", "task=", "classes=", "num_classes=", "input.height=", "input.width=", "input.batch=",
    "input.channels=", "input.layout=NHWC", "input.dtype=", "input.dynamic.height=", "input.dynamic.width=",
    "preprocess.resize=", "preprocess.resize_to=", "preprocess.crop=", "preprocess.pre_crop=", "preprocess.stride=",
    "preprocess.resampler=opencv", "preprocess.interpolation=", "preprocess.color=", "preprocess.scale_up=",
    "preprocess.anchor=top_left", "preprocess.pad_value=", "preprocess.mean=", "preprocess.std=", "preprocess.scale=",
    "preprocess.rounding=round", "preprocess.crop_offset=", "preprocess.pre_crop_offset=", "output.names=",
    "output.layout=", "output.keypoints=", "output.mask_channels=", "output.max_det=", "output.top_k=",
    "output.activation=softmax", "stretch", "short", "long", "cover", "letterbox", "none", "nearest", "bilinear",
    "bicubic", "lanczos", "box", "area", "grey", "bgr", "as_is", "even", "up", "down", "float16", "-1", "0", "1", "32",
    "1 256 1", "16384", "16385", "65536", "2147483647", "2147483648", "9223372036854775808", "1e400", "1e-400", "nan",
    "cases=", "pictures=", "picture.0=", "picture 0 ", "noise 7 ", "2 8 8 ", "tensor 1", "0.images=", "0.outputs=",
    "0.0.kind=", "0.0.slice=", "0.0.log=1", "0.0.samples=", "0.0.means=", "0.0.best=", "0.0.margins=",
    "0.0.tolerance.fp16=", "0.1.columns=", "0.1.rows=", "0.1.cuts=", "rows", "values", "-1 0 0", "AAAA", "AACAPw==",
    "AADAfwAAgH8=", "inf", "-0", "0.5", "{0: 'a', 1: 'b'}", "[[[[", "((((", "'\\ud800'", "\xed\xa0\x80", "'\\x", "None", "[17, 3]"};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) { pool_.emplace_back(); }

  std::string next() {
    std::string text = pool_[below(pool_.size())];
    for (std::size_t changes = 1 + below(8); changes > 0; --changes) change(text);
    if (text.size() > kLongest) text.resize(kLongest);
    // What was tried is gone on from.
    if (pool_.size() < kPool) {
      pool_.push_back(text);
    } else if (below(4) == 0) {
      pool_[1 + below(kPool - 1)] = text;
    }
    return text;
  }

 private:
  // std::uniform_int_distribution gives other numbers with every library.
  std::size_t below(std::size_t end) { return static_cast<std::size_t>(random_() % end); }

  void change(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    switch (below(6)) {
      case 0: text.insert(at, 1, static_cast<char>(below(256))); break;
      case 1:
      case 2: text.insert(at, kWords[below(sizeof kWords / sizeof *kWords)]); break;
      case 3: text.erase(at, 1 + below(16)); break;
      case 4: text.insert(at, text.substr(below(text.size() + 1), 1 + below(32))); break;
      default:
        for (std::size_t i = 1 + below(64); i > 0; --i) text += static_cast<char>(below(256));
    }
  }

  std::mt19937_64 random_;
  std::vector<std::string> pool_{};
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const long runs = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 1000;
  std::printf("seed %llu, %ld runs\n", static_cast<unsigned long long>(seed), runs);
  std::fflush(stdout);
  Mutator mutator(seed);
  for (long run = 0; run < runs; ++run) {
    const std::string text = mutator.next();
    // A copy of the exact size, so that a read beyond its end is seen.
    const std::vector<std::uint8_t> data(text.begin(), text.end());
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
}
