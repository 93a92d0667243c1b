// Caches of engines, only from folders that nobody else could write to; as tests/runtimes/test_trusted_folder.py.

#include "machine/folders/trusted_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.hpp"
#include "deploykit/error.hpp"
#include "machine/folders/engine_cache.hpp"

namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

// A cache with one engine below a parent folder, removed at the end.
struct Cache {
  Cache() {
    fs::remove_all(top);
    fs::create_directories(top);
    deploykit::CacheFolder cache(root.string(), "key");
    std::ofstream(fs::path(cache.path()) / "engine") << "code";
    cache.publish();
    folder = cache.path();
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  ~Cache() { fs::remove_all(top); }

  const fs::path top = fs::absolute("trusted_folder_test");
  const fs::path root = top / "parent" / "cache";
  fs::path folder;
};

// What is wrong with a cache; empty: nothing, and it holds the engine.
std::string problem(const fs::path& root) {
  try {
    const deploykit::CacheFolder cache(root.string(), "key");
    return fs::exists(fs::path(cache.path()) / "engine") ? "" : "empty";
  } catch (const deploykit::OptionError& error) {
    return error.problem();
  }
}

bool says(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

mode_t mode_of(const fs::path& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

}  // namespace

TEST(a_cache_is_made_for_its_user_alone) {
  const Cache cache;
  CHECK_EQUAL(mode_of(cache.root), mode_t{0700});
  CHECK_EQUAL(mode_of(cache.folder) & 022, mode_t{0});
  CHECK_EQUAL(problem(cache.root), "");
}

TEST(folders_that_others_may_write_to_are_not_trusted) {
  const Cache cache;
  for (const fs::path& folder : {cache.root, cache.folder}) {
    for (const mode_t mode : {mode_t{0770}, mode_t{0702}, mode_t{0777}, mode_t{01777}}) {
      chmod(folder.c_str(), mode);
      CHECK(says(problem(cache.root), "is not trusted: others may write to it (mode "));
    }
    chmod(folder.c_str(), 0700);
    CHECK_EQUAL(problem(cache.root), "");
  }
  chmod((cache.folder / "engine").c_str(), 0666);
  CHECK(says(problem(cache.root), "others may write to " + (cache.folder / "engine").string()));
}

TEST(what_belongs_to_somebody_else_is_not_trusted) {
  if (geteuid() != 0) return;  // only root can give a folder away
  const Cache cache;
  for (const fs::path& path : {cache.root, cache.folder, cache.folder / "engine", cache.root.parent_path()}) {
    CHECK_EQUAL(chown(path.c_str(), kNobody, static_cast<gid_t>(-1)), 0);
    CHECK(says(problem(cache.root), "belongs to the user 65534"));
    CHECK_EQUAL(chown(path.c_str(), 0, static_cast<gid_t>(-1)), 0);
    CHECK_EQUAL(problem(cache.root), "");
  }
}

TEST(links_are_followed_step_by_step) {
  const Cache cache;
  const fs::path first = cache.top / "first";
  const fs::path second = cache.top / "second";
  fs::create_symlink("second", first);
  fs::create_symlink(cache.root.parent_path(), second);
  CHECK_EQUAL(problem(first / "cache"), "");
  chmod(cache.root.parent_path().c_str(), 0777);
  CHECK(says(problem(first / "cache"), "everybody may write to " + cache.root.parent_path().string()));
  chmod(cache.root.parent_path().c_str(), 01777);  // as /tmp is
  CHECK_EQUAL(problem(first / "cache"), "");
  if (geteuid() == 0) {
    CHECK_EQUAL(lchown(second.c_str(), kNobody, static_cast<gid_t>(-1)), 0);
    CHECK(says(problem(first / "cache"), second.string() + " is a symbolic link of the user 65534"));
  }
  fs::create_symlink("circle", cache.top / "circle");
  CHECK(says(problem(cache.top / "circle"), "cannot be"));
}

TEST(links_inside_are_not_trusted) {
  const Cache cache;
  std::ofstream(cache.top / "elsewhere") << "other code";
  fs::remove(cache.folder / "engine");
  fs::create_symlink(cache.top / "elsewhere", cache.folder / "engine");
  CHECK(says(problem(cache.root), "engine in it is a symbolic link"));
}

TEST(whoever_knows_better_can_say_so) {
  const Cache cache;
  chmod(cache.root.c_str(), 0777);
  setenv("DEPLOYKIT_TRUST_CACHE", "1", 1);
  CHECK_EQUAL(problem(cache.root), "");
  unsetenv("DEPLOYKIT_TRUST_CACHE");
  CHECK(says(problem(cache.root), "is not trusted"));
}
