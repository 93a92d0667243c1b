#include "onnx/model_file.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>

#include "deploykit/error.hpp"
#include "contract/limits.hpp"
#include "machine/sha256.hpp"
#include "onnx/file.hpp"

namespace deploykit {
namespace {

constexpr std::size_t kHead = 64;

bool starts(std::string_view head, std::string_view with, std::size_t at = 0) {
  return head.size() >= at + with.size() && head.compare(at, with.size(), with) == 0;
}

// A zip archive or pickle of torch.save, HDF5 of Keras, safetensors.
bool is_checkpoint(std::string_view head) {
  const bool pickle = head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5;
  return starts(head, "PK") || pickle || starts(head, "\x89HDF") || starts(head, "{", 8);
}

bool is_image(std::string_view head) {
  using namespace std::string_view_literals;
  return starts(head, "\xff\xd8\xff") || starts(head, "\x89PNG") || starts(head, "GIF8") ||
         (starts(head, "RIFF") && starts(head, "WEBP", 8)) || (starts(head, "BM") && starts(head, "\0\0\0\0"sv, 6)) ||
         starts(head, "II*\0"sv) || starts(head, "MM\0*"sv);
}

std::string head_of(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) throw ModelError(path + " cannot be read: " + std::strerror(errno) + ".");
  std::string head(kHead, '\0');
  head.resize(std::fread(head.data(), 1, kHead, file.get()));
  return head;
}

// Why a file beside the model cannot be used, as half a sentence; empty when it can.
std::string problem_of(const std::string& beside) {
  struct stat status {};
  if (stat(beside.c_str(), &status) != 0) return beside + " does not exist";
  if (!S_ISREG(status.st_mode)) return beside + " is not a file";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(beside.c_str(), "rb"), std::fclose);
  if (file == nullptr) return beside + " cannot be read: " + std::strerror(errno);
  return std::fgetc(file.get()) == EOF ? beside + " is empty" : "";
}

std::vector<std::string> files_beside(const std::string& path) {
  try {
    return read_onnx(path).external;
  } catch (const LimitError&) {
    throw;
  } catch (const ModelError&) {
    return {};  // a file that is not ONNX at all is left to the engine, in the same words as to Python
  }
}

}  // namespace

void check_files_beside(const std::string& path) {
  for (const std::string& location : files_beside(path)) {
    const std::string problem = problem_of((std::filesystem::path(path).parent_path() / location).string());
    if (problem.empty()) continue;
    throw ModelError(path + " keeps its weights in " + location + ", and " + problem + ".",
                     "Put that file beside the model under this name, or export the model again.");
  }
}

std::uint64_t model_bytes(const std::string& path) {
  const std::filesystem::path file(path);
  std::uint64_t total = 0;
  const auto add = [&total](const std::filesystem::path& part) {
    std::error_code error;
    const std::uintmax_t size = std::filesystem::file_size(part, error);
    if (!error) total += size;
  };
  add(file);
  for (const std::string& location : files_beside(path)) add(file.parent_path() / location);
  return total;
}

std::string hash_model(const std::string& path) {
  const std::vector<std::string> others = files_beside(path);
  std::string hashes = sha256_of_file(path);
  if (others.empty()) return hashes;
  for (const std::string& location : others) {
    hashes += "\n" + sha256_of_file((std::filesystem::path(path).parent_path() / location).string());
  }
  return sha256_of(hashes);
}

void check_model_file(const std::string& path, const std::string& device) {
  struct stat status {};
  const bool exists = stat(path.c_str(), &status) == 0;
  const std::string export_it = "Export it first: deploykit export " + path;
  if (exists && S_ISDIR(status.st_mode)) {
    throw ModelError(path + " is a folder without a model for ort-" + (device == "tensorrt" ? "trt" : device) + ".",
                     "If it is a checkpoint, export it first: deploykit export " + path);
  }
  if (!exists || !S_ISREG(status.st_mode)) {
    throw ModelError(path + " does not exist.", "Write a model with: deploykit export CHECKPOINT");
  }
  const std::string head = head_of(path);
  if (head.empty()) {
    throw ModelError(path + " is not a valid ONNX model: it is empty.", "Fetch or export it again.");
  }
  if (is_checkpoint(head)) throw ModelError(path + " is a checkpoint, wanted a model.", export_it);
  if (is_image(head)) {
    throw ModelError(path + " is an image, wanted a model.", "Give the model first, images after it.");
  }
}

}  // namespace deploykit
