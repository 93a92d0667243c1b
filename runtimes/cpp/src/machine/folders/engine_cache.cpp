#include "machine/folders/engine_cache.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>

#include "deploykit/error.hpp"
#include "text/json.hpp"
#include "machine/sha256.hpp"
#include "machine/folders/trusted_folder.hpp"

namespace deploykit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeyFile = "key.json";
constexpr std::size_t kDigits = 24;
constexpr mode_t kMode = 0755;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string key_text(const EngineKey& key) {
  const auto member = [](const char* name, const std::string& value) {
    return " \"" + std::string(name) + "\": " + value + ",\n";
  };
  std::string profile = "[\n";
  for (std::size_t i = 0; i < key.profile.size(); ++i) {
    profile += "  " + json_ascii(key.profile[i]) + (i + 1 < key.profile.size() ? ",\n" : "\n ]");
  }
  // The order is that of the alphabet, as in Python.
  return "{\n" + member("capability", json_ascii(key.capability)) +
         member("cuda_graph", key.cuda_graph ? "true" : "false") + member("driver", json_ascii(key.driver)) +
         member("gpu", json_ascii(key.gpu)) + member("model", json_ascii(key.model)) +
         member("onnxruntime", json_ascii(key.onnxruntime)) + member("profile", profile) +
         " \"tensorrt\": " + json_ascii(key.tensorrt) + "\n}";
}

std::string folder_name(const std::string& key_text) { return sha256_of(key_text).substr(0, kDigits); }

std::string default_cache() {
  if (const std::string chosen = variable("DEPLOYKIT_CACHE"); !chosen.empty()) return chosen;
  const std::string base = variable("XDG_CACHE_HOME");
  return (fs::path(base.empty() ? variable("HOME") + "/.cache" : base) / "deploykit").string();
}

CacheFolder::CacheFolder(const std::string& root, std::string key_text)
    : key_text_(std::move(key_text)),
      folder_((fs::path(trusted_folder(root, false)) / folder_name(key_text_)).string()) {
  std::error_code error;
  if (fs::is_regular_file(fs::path(folder_) / kKeyFile, error)) {
    folder_ = trusted_folder(folder_, true);
    return;
  }
  char number[9];
  std::snprintf(number, sizeof number, "%08x", static_cast<unsigned>(std::random_device()()));
  const fs::path folder(folder_);
  draft_ = (folder.parent_path() / ("." + folder.filename().string() + "." + number + ".part")).string();
  // Fresh, and never one that a group may write to, whatever the umask.
  if (mkdir(draft_.c_str(), kMode) != 0) {
    const std::error_code failed(errno, std::generic_category());
    draft_.clear();
    throw OptionError("The cache " + root + " cannot be written: " + failed.message() + ".");
  }
}

CacheFolder::~CacheFolder() {
  std::error_code ignored;
  if (!draft_.empty()) fs::remove_all(draft_, ignored);
}

void CacheFolder::publish() {
  if (draft_.empty()) return;
  std::ofstream key(fs::path(draft_) / kKeyFile, std::ios::binary);
  key << key_text_;
  key.close();
  if (!key) return;  // a full disk: the engine runs, and the destructor removes what there is of its folder
  std::error_code another_was_first;  // its folder is as good
  fs::rename(draft_, folder_, another_was_first);
  if (!another_was_first) draft_.clear();
}

}  // namespace deploykit
