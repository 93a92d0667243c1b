// Limits of memory that come and go in many threads, around models that ask for too much and models that do not.
// ThreadSanitizer runs these too.

#include "machine/memory_limit.hpp"

#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <deploykit/memory.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "golden_files.hpp"
#include "models.hpp"

#if defined(__has_feature)
#define DEPLOYKIT_HAS(feature) __has_feature(feature)
#else
#define DEPLOYKIT_HAS(feature) 0
#endif

namespace {

using deploykit::MemoryLimit;

constexpr int kThreads = 4;

// Where the system has no memory, the sanitizers' operator new ends the program, so nothing is asked for there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || DEPLOYKIT_HAS(address_sanitizer) || \
    DEPLOYKIT_HAS(thread_sanitizer)
constexpr bool kRefuses = false;
#else
constexpr bool kRefuses = true;
#endif

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value > 0x7F; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string number(std::uint64_t field, std::uint64_t value) { return varint(field << 3) + varint(value); }

std::string text(std::uint64_t field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}

std::string node(std::string_view type, const std::vector<std::string_view>& inputs, std::string_view output) {
  std::string out;
  for (const std::string_view input : inputs) out += text(1, input);
  return text(1, out + text(2, output) + text(4, type));
}

std::string image_or_row(std::string_view name, const std::vector<std::uint64_t>& shape) {
  std::string dims;
  for (const std::uint64_t n : shape) dims += text(1, number(1, n));
  return text(1, name) + text(2, text(1, number(1, 1) + text(2, dims)));
}

// A classifier of the mean colour that makes a window of `values` values on its way.
std::string window_model(std::int64_t values) {
  std::string stored = number(2, 7) + text(8, "size") + text(9, std::string(8, '\0'));
  std::memcpy(stored.data() + stored.size() - 8, &values, 8);
  const std::string graph = node("GlobalAveragePool", {"images"}, "pooled") + node("Flatten", {"pooled"}, "colour") +
                            node("HannWindow", {"size"}, "window") + node("ReduceMax", {"window"}, "largest") +
                            node("Add", {"colour", "largest"}, "logits") + text(2, "g") + text(5, stored) +
                            text(11, image_or_row("images", {1, 3, 8, 8})) + text(12, image_or_row("logits", {1, 3}));
  return number(1, 8) + text(8, number(2, 17)) + text(7, graph);
}

std::string write(const std::string& name, const std::string& content) {
  std::FILE* file = std::fopen(name.c_str(), "wb");
  CHECK(file != nullptr);
  CHECK_EQUAL(std::fwrite(content.data(), 1, content.size(), file), content.size());
  std::fclose(file);
  return name;
}

rlim_t soft_limit() {
  struct rlimit now {};
  getrlimit(RLIMIT_DATA, &now);
  return now.rlim_cur;
}

template <class Work>
void in_threads(Work work) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back([&work, t] { work(t); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST(a_program_that_does_not_ask_has_no_limit) {
  const rlim_t before = soft_limit();
  CHECK(!MemoryLimit::loading(1).allowed());
  CHECK_EQUAL(soft_limit(), before);
}

#ifdef __linux__

TEST(one_model_is_limited_and_two_at_once_by_the_machine_alone) {
  deploykit::limit_memory();
  const rlim_t before = soft_limit();
  {
    const MemoryLimit one = MemoryLimit::loading(1000);
    CHECK(one.allowed().has_value());
    CHECK(*one.allowed() <= (1ULL << 30) + 16000);
    const rlim_t lowered = soft_limit();
    CHECK(lowered < before);
    const MemoryLimit other = MemoryLimit::first_run(1000);
    CHECK(soft_limit() > lowered);
  }
  CHECK(soft_limit() > 1ULL << 30);
}

TEST(limits_come_and_go_in_many_threads) {
  in_threads([](int thread) {
    for (int i = 0; i < 50; ++i) {
      deploykit::limit_memory();
      const MemoryLimit loading = MemoryLimit::loading(static_cast<std::uint64_t>(1000 * thread));
      const MemoryLimit running = MemoryLimit::first_run(static_cast<std::uint64_t>(i));
      CHECK(loading.allowed().has_value());
    }
  });
  // None is left: the next one is alone again.
  const MemoryLimit alone = MemoryLimit::loading(0);
  CHECK(*alone.allowed() <= 1ULL << 30);
}

TEST(honest_models_are_answered_while_others_ask_for_terabytes) {
  deploykit::limit_memory();
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  const deploykit::ImageView image(photo.pixels.data(), photo.height, photo.width);
  const deploykit::Options options = deploykit::Options{}.with_threads(1);
  const std::string honest = model_path("yolo.onnx");
  const std::string bomb = write("window_of_terabytes.onnx", window_model(kRefuses ? 1LL << 40 : 9));
  const std::string small = write("window.onnx", window_model(8));
  const std::string wanted = to_json(deploykit::Model(honest, options).predict(image));
  const std::string wanted_small = to_json(deploykit::Model(small, options).predict(image));
  std::atomic<int> wrong{0};
  in_threads([&](int thread) {
    for (int i = 0; i < 6; ++i) {
      if ((thread + i) % 2 == 0) {
        if (to_json(deploykit::Model(honest, options).predict(image)) != wanted) ++wrong;
        if (to_json(deploykit::Model(small, options).predict(image)) != wanted_small) ++wrong;
        continue;
      }
      try {
        deploykit::Model(bomb, options).predict(image);
        if (kRefuses) ++wrong;
      } catch (const deploykit::ModelError& error) {
        if (std::string(error.what()).find("memory") == std::string::npos) ++wrong;
      }
    }
  });
  CHECK_EQUAL(wrong.load(), 0);
  std::remove(bomb.c_str());
  std::remove(small.c_str());
}

#endif
