#include "check.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>
#include <vector>

namespace check {
namespace {

constexpr int kSkipped = 77;

std::vector<std::pair<const char*, std::function<void()>>>& tests() {
  static std::vector<std::pair<const char*, std::function<void()>>> all;
  return all;
}

std::string folder;
int failures = 0;

}  // namespace

Registration::Registration(const char* name, std::function<void()> test) {
  tests().emplace_back(name, std::move(test));
}

void fail(const char* file, int line, const std::string& what) {
  ++failures;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

const std::string& golden() { return folder; }

void skip(const std::string& reason) {
  std::printf("skipped: %s\n", reason.c_str());
  std::exit(kSkipped);
}

}  // namespace check

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: %s GOLDEN [TEST]\n", argv[0]), 2;
  check::folder = argv[1];
  for (const auto& [name, test] : check::tests()) {
    if (argc > 2 && std::string(name) != argv[2]) continue;
    const int before = check::failures;
    try {
      test();
    } catch (const std::exception& error) {
      check::fail(name, 0, std::string("threw ") + error.what());
    }
    std::printf("%s %s\n", check::failures == before ? "ok  " : "FAIL", name);
  }
  return check::failures == 0 ? 0 : 1;
}
