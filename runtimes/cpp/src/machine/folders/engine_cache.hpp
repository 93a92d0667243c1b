// Compiled engines on disk, under a key of everything they depend on; the folders are those of Python.
#pragma once

#include <array>
#include <string>

namespace deploykit {

struct EngineKey {
  std::string model;  // SHA-256 of the file
  std::string onnxruntime;
  std::string tensorrt;
  std::string gpu;
  std::string capability;
  std::string driver;
  std::array<std::string, 3> profile;
  bool cuda_graph = false;
};

// The key as the JSON document whose hash names the folder.
std::string key_text(const EngineKey& key);
std::string folder_name(const std::string& key_text);
// $DEPLOYKIT_CACHE, or "deploykit" below the user's cache folder.
std::string default_cache();

// The folder of an engine: the finished one, or a fresh one that publish() gives its final name.
//
// An engine that was built for another file, GPU, version or option has another key, and so another folder:
// it is never found, and never overwritten. Of two processes that build at once, the first publishes.
class CacheFolder {
 public:
  // Throws OptionError: `root` cannot be written, or is not trusted (see machine/folders/trusted_folder.hpp).
  CacheFolder(const std::string& root, std::string key_text);
  CacheFolder(const CacheFolder&) = delete;
  CacheFolder& operator=(const CacheFolder&) = delete;
  // Removes what was not published.
  ~CacheFolder();

  const std::string& path() const { return draft_.empty() ? folder_ : draft_; }
  void publish();

 private:
  std::string key_text_;
  std::string folder_;
  std::string draft_;  // empty where the finished folder is used
};

}  // namespace deploykit
