#include "machine/cpu.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr std::array<std::string_view, 4> kX86{"x86_64", "amd64", "i386", "i686"};
constexpr std::array<std::string_view, 4> kArm{"aarch64", "arm64", "armv7l", "armv8l"};

template <class List>
bool is_in(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// The instruction sets of the first processor.
std::vector<std::string> flags_of(std::string_view cpuinfo) {
  for (const std::string_view name : {"flags", "Features"}) {
    for (const std::string& line : split(cpuinfo, '\n')) {
      const std::size_t colon = line.find(':');
      if (colon == std::string::npos || words(line.substr(0, colon)) != std::vector<std::string>{std::string(name)}) {
        continue;
      }
      std::vector<std::string> found = words(line.substr(colon + 1));
      if (!found.empty()) return found;
    }
  }
  return {};
}

std::string architecture() {
  utsname machine{};
  if (uname(&machine) != 0) return {};
  return machine.machine;
}

}  // namespace

std::string cpu_class(std::string_view architecture, std::string_view cpuinfo) {
  const std::vector<std::string> flags = flags_of(cpuinfo);
  if (is_in(kX86, architecture)) return is_in(flags, "avx512_vnni") || is_in(flags, "avx_vnni") ? "vnni" : "no-vnni";
  if (is_in(kArm, architecture)) return is_in(flags, "asimddp") ? "arm-dot" : "arm";
  return "other";
}

std::string cpu_class() {
  std::ostringstream text;
  text << std::ifstream("/proc/cpuinfo").rdbuf();
  return cpu_class(architecture(), text.str());
}

bool is_x86() { return is_in(kX86, architecture()); }

}  // namespace deploykit
