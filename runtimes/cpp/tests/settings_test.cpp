// What is set on a session, and where engines are kept: as Python does, from vectors that it wrote.

#include "ort/settings.hpp"

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "check.hpp"
#include "deploykit/error.hpp"
#include "machine/folders/engine_cache.hpp"
#include "golden_files.hpp"
#include "machine/sha256.hpp"
#include "text/text.hpp"

namespace {

namespace fs = std::filesystem;

std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool line = text.compare(i, 2, "\\n") == 0;
    out += line ? '\n' : text[i];
    if (line) ++i;
  }
  return out;
}

deploykit::Options options_of(const golden::Block& block) {
  const auto values = deploykit::words(block.at("options"));
  deploykit::Options options;
  options.device = values[0];
  options.goal = values[1];
  options.precision = values[2];
  options.cuda_graph = values[3] == "1";
  options.gpu = std::stoi(values[4]);
  options.threads = std::stoi(values[5]);
  return options;
}

deploykit::InputSpec input_of(const golden::Block& block) {
  const auto values = deploykit::words(block.at("input"));
  deploykit::InputSpec input;
  input.name = values[0];
  input.layout = values[1] == "NCHW" ? deploykit::Axes::nchw : deploykit::Axes::nhwc;
  input.batch = std::stoll(values[2]);
  input.channels = std::stoll(values[3]);
  input.height = std::stoll(values[4]);
  input.width = std::stoll(values[5]);
  for (std::size_t i = 6; i + 3 < values.size(); i += 4) {
    input.dynamic[values[i]] = {std::stoll(values[i + 1]), std::stoll(values[i + 2]), std::stoll(values[i + 3])};
  }
  return input;
}

std::string text_of(const deploykit::Settings& settings) {
  std::string text;
  for (const auto& [key, value] : settings) text += (text.empty() ? "" : " ") + key + "=" + value;
  return text;
}

std::vector<std::pair<std::string, double>> weights_of(const golden::Block& block) {
  std::vector<std::pair<std::string, double>> weights;
  const auto values = deploykit::words(block.at("weights"));
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) weights.emplace_back(values[i], std::stod(values[i + 1]));
  return weights;
}

}  // namespace

TEST(settings_are_pythons) {
  const auto blocks = golden::read_blocks(check::golden() + "/cpp/engine.txt");
  CHECK(blocks.size() >= 6);
  for (const auto& block : blocks) {
    const auto options = options_of(block);
    const auto input = input_of(block);
    CHECK_EQUAL(std::to_string(deploykit::threads_of(options)), block.at("threads"));
    CHECK_EQUAL(text_of(deploykit::session_settings(options)), block.at("session"));
    CHECK_EQUAL(text_of(deploykit::cuda_settings(options)), block.at("cuda"));
    CHECK_EQUAL(text_of(deploykit::tensorrt_settings(input, options, "/cache")), block.at("tensorrt"));
    CHECK_EQUAL(deploykit::working_precision(weights_of(block), options), block.at("precision"));
    deploykit::EngineKey key{"abc", "1.32.0", "10.16.1", "NVIDIA L4 \xe2\x84\xa2", "8.9", "13.0", {}, false};
    key.profile = deploykit::profile_shapes(input);
    key.cuda_graph = options.cuda_graph;
    CHECK_EQUAL(deploykit::key_text(key), unescaped(block.at("key")));
    CHECK_EQUAL(deploykit::folder_name(deploykit::key_text(key)), block.at("folder"));
  }
}

TEST(options_are_checked) {
  using deploykit::Options;
  const auto refuses = [](const Options& options, const char* problem) {
    try {
      deploykit::check_options(options);
      CHECK(false);
    } catch (const deploykit::OptionError& error) {
      CHECK_EQUAL(error.problem(), problem);
    }
  };
  deploykit::check_options({});
  refuses(Options{}.with_threads(-1), "--threads wants a whole number from 1 to 1024, found -1.");
  refuses(Options{}.with_goal("speed"), "--goal wants one of latency, throughput, found 'speed'.");
  refuses(Options{}.with_precision("fp16"), "--precision wants one of model, auto, found 'fp16'.");
  refuses(Options{}.with_gpu(-1), "--gpu wants a whole number of at least 0, found -1.");
}

TEST(hashes) {
  CHECK_EQUAL(deploykit::sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQUAL(deploykit::sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQUAL(deploykit::sha256_of(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  const std::string path = check::golden() + "/cpp/yolo.onnx";
  CHECK_EQUAL(deploykit::sha256_of_file(path), deploykit::sha256_of(golden::read_text(path)));
  CHECK_THROWS(deploykit::sha256_of_file("missing"), deploykit::ModelError);
}

TEST(an_engine_is_kept_whole_or_not_at_all) {
  const fs::path root = "settings_test_cache";
  fs::remove_all(root);
  std::string folder;
  {
    deploykit::CacheFolder cache(root.string(), "key");
    std::ofstream(fs::path(cache.path()) / "engine") << "first";
    CHECK(fs::path(cache.path()).filename().string()[0] == '.');
    cache.publish();
    folder = cache.path();
  }
  CHECK_EQUAL(fs::path(folder).filename().string(), deploykit::folder_name("key"));
  CHECK_EQUAL(golden::read_text(folder + "/key.json"), "key");
  const deploykit::CacheFolder again(root.string(), "key");
  CHECK_EQUAL(again.path(), folder);
  { deploykit::CacheFolder failed(root.string(), "other"); }
  CHECK_EQUAL(std::distance(fs::directory_iterator(root), fs::directory_iterator()), 1);
  fs::remove_all(root);
  try {
    deploykit::CacheFolder("/proc/none", "key");
    CHECK(false);
  } catch (const deploykit::OptionError& error) {
    CHECK_EQUAL(error.problem(), "The cache /proc/none cannot be written: No such file or directory.");
  }
}

TEST(nobody_else_may_write_to_a_fresh_engine) {
  const fs::path root = "settings_test_umask";
  fs::remove_all(root);
  const mode_t before = umask(0);
  {
    const deploykit::CacheFolder cache(root.string(), "key");
    struct stat found {};
    CHECK(stat(cache.path().c_str(), &found) == 0);
    CHECK_EQUAL(found.st_mode & 07777, mode_t{0755});
  }
  umask(before);
  fs::remove_all(root);
}

TEST(the_users_cache_folder) {
  setenv("DEPLOYKIT_CACHE", "/chosen", 1);
  CHECK_EQUAL(deploykit::default_cache(), "/chosen");
  unsetenv("DEPLOYKIT_CACHE");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  CHECK_EQUAL(deploykit::default_cache(), "/cache/deploykit");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/home/me", 1);
  CHECK_EQUAL(deploykit::default_cache(), "/home/me/.cache/deploykit");
}
