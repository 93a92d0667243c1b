#include "machine/folders/trusted_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "deploykit/error.hpp"

namespace deploykit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTrust = "DEPLOYKIT_TRUST_CACHE";
constexpr int kMaxLinks = 40;  // as Linux
constexpr mode_t kPrivate = 0700;

bool is_another_user(uid_t user) { return user != 0 && user != geteuid(); }

std::string user(uid_t number) { return "the user " + std::to_string(number); }

std::string octal(mode_t mode) {
  std::string digits;
  for (mode &= 07777; mode != 0 || digits.size() < 3; mode >>= 3) {
    digits.insert(digits.begin(), static_cast<char>('0' + (mode & 7)));
  }
  return digits;
}

// One look at a folder; the names of its errors are the caller's.
class Check {
 public:
  explicit Check(const std::string& folder) : folder_(folder) {}

  // Where the path leads, each step of it checked.
  fs::path walk() const {
    std::error_code error;
    const fs::path whole = fs::absolute(folder_, error);
    if (error) throw unreadable(error.value());
    std::vector<fs::path> rest = reversed(whole);
    fs::path here = "/";
    int links = 0;
    while (!rest.empty()) {
      parent(here);
      const fs::path part = rest.back();
      rest.pop_back();
      if (part.empty() || part == ".") continue;
      if (part == "..") {
        here = here.parent_path();
        continue;
      }
      const fs::path step = here / part;
      const struct stat found = status(step);
      if (!S_ISLNK(found.st_mode)) {
        here = step;
        continue;
      }
      if (is_another_user(found.st_uid)) {
        throw refusal(step.string() + " is a symbolic link of " + user(found.st_uid), step);
      }
      if (++links > kMaxLinks) throw refusal("its symbolic links form a loop", step);
      const fs::path target = fs::read_symlink(step, error);
      if (error) throw unreadable(error.value());
      if (target.is_absolute()) here = "/";
      for (const fs::path& name : reversed(target)) rest.push_back(name);
    }
    return here;
  }

  void own(const fs::path& path) const {
    const struct stat found = status(path);
    if (!S_ISDIR(found.st_mode)) throw OptionError("The cache " + folder_ + " is not a folder.");
    if (is_another_user(found.st_uid)) throw refusal("it belongs to " + user(found.st_uid), path);
    if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
      throw refusal("others may write to it (mode " + octal(found.st_mode) + ")", path);
    }
  }

  void inside(const fs::path& path) const {
    std::error_code error;
    // Symbolic links are not followed, but found.
    fs::recursive_directory_iterator entry(path, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) content(entry->path());
    if (error) throw unreadable(error.value());
  }

 private:
  static std::vector<fs::path> reversed(const fs::path& path) {
    std::vector<fs::path> parts;
    for (const fs::path& part : path.relative_path()) parts.insert(parts.begin(), part);
    return parts;
  }

  struct stat status(const fs::path& path) const {
    struct stat found{};
    if (lstat(path.c_str(), &found) != 0) throw unreadable(errno);
    return found;
  }

  void parent(const fs::path& path) const {
    const struct stat found = status(path);
    if (is_another_user(found.st_uid)) throw refusal(path.string() + " above it belongs to " + user(found.st_uid), path);
    if ((found.st_mode & S_IWOTH) != 0 && (found.st_mode & S_ISVTX) == 0) {
      throw refusal("everybody may write to " + path.string() + " above it", path);
    }
  }

  void content(const fs::path& path) const {
    struct stat found{};
    if (lstat(path.c_str(), &found) != 0) {
      if (errno == ENOENT) return;  // what goes on beside this renames and removes its drafts
      throw unreadable(errno);
    }
    if (S_ISLNK(found.st_mode)) throw refusal(path.string() + " in it is a symbolic link", path);
    if (is_another_user(found.st_uid)) {
      throw refusal(path.string() + " in it belongs to " + user(found.st_uid), path);
    }
    // With a umask of 002 files are written so that the user's own group may write to them.
    const bool of_group = (found.st_mode & S_IWGRP) != 0 && found.st_gid != getegid();
    if (of_group || (found.st_mode & S_IWOTH) != 0) throw refusal("others may write to " + path.string(), path);
  }

  OptionError unreadable(int code) const {
    return OptionError("The cache " + folder_ + " cannot be read: " + std::strerror(code) + ".");
  }

  OptionError refusal(const std::string& why, const fs::path& place) const {
    return OptionError("The cache " + folder_ + " is not trusted: " + why + ", and compiled engines are code.",
                       "Look at it with `ls -ld " + place.string() +
                           "`: make it yours alone (chown, chmod go-w), remove it, or name another folder. " + kTrust +
                           "=1 uses it as it is.");
  }

  const std::string& folder_;
};

// As `mkdir -p`, the last folder for its user alone.
void make(const std::string& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  error.clear();  // one that is missing is not an error
  fs::path path(folder);
  if (!path.has_filename()) path = path.parent_path();
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (!error && mkdir(path.c_str(), kPrivate) != 0) {
    const std::error_code failed(errno, std::generic_category());
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) error = failed;  // else another process was first
  }
  if (error) throw OptionError("The cache " + folder + " cannot be written: " + error.message() + ".");
}

}  // namespace

std::string trusted_folder(const std::string& folder, bool contents) {
  make(folder);
  const char* trust = std::getenv(kTrust);
  if (trust != nullptr && std::string(trust) == "1") return folder;
  const Check check(folder);
  const fs::path found = check.walk();
  check.own(found);
  if (contents) check.inside(found);
  // Spelled as it was given where no link was on the way.
  return found == fs::absolute(folder) ? folder : found.string();
}

}  // namespace deploykit
