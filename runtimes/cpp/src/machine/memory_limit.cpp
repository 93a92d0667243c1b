#include "machine/memory_limit.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>

#include "deploykit/error.hpp"
#include "deploykit/memory.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr const char* kMemory = "DEPLOYKIT_MEMORY";
// The numbers of memory_limit.py; a test compares them.
constexpr std::uint64_t kLoadBytes = 1073741824;
constexpr std::uint64_t kLoadPerByte = 16;
constexpr std::uint64_t kRunBytes = 1073741824;
constexpr std::uint64_t kRunPerValue = 16384;
// Control groups of version 1 write it as the largest page-aligned number.
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 60;

std::atomic<bool> is_own{false};

struct State {
  std::mutex mutex;
  int bounded = 0;
  std::optional<rlim_t> before;
};

State& state() {
  static State found;
  return found;
}

// Bytes that the environment gives; 0: it says "off"; nothing: it says nothing.
std::optional<std::uint64_t> chosen() {
  const char* given = std::getenv(kMemory);
  std::string text = given == nullptr ? "" : given;
  const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
  text.erase(std::find_if_not(text.rbegin(), text.rend(), is_space).base(), text.end());
  if (text.empty()) return std::nullopt;
  std::string upper = text;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  if (upper == "OFF") return 0;
  const std::size_t digits = std::min(upper.find_first_not_of("0123456789."), upper.size());
  std::size_t rest = upper.find_first_not_of(' ', digits);
  const std::string unit = rest == std::string::npos ? "" : upper.substr(rest);
  const std::string number = upper.substr(0, digits);
  const std::size_t factor = unit.empty() || unit == "B" ? 0 : std::string(" KMGT").find(unit[0]);
  const std::string behind = factor == 0 || factor == std::string::npos ? "" : unit.substr(1);
  const bool sound = !number.empty() && number[0] != '.' && number.back() != '.' && number.size() < 25 &&
                     std::count(number.begin(), number.end(), '.') < 2 && factor != std::string::npos &&
                     (behind.empty() || behind == "B" || behind == "IB");
  const double size = sound ? std::floor(std::strtod(number.c_str(), nullptr) * std::exp2(10.0 * double(factor))) : 0;
  if (size < 1) {
    throw OptionError(std::string(kMemory) + " wants a size, as 4G or 500M, or off, found " + quoted(text) + ".");
  }
  return size < double(kUnlimited) ? std::uint64_t(size) : kUnlimited;
}

// The first number of a line of /proc that begins so, in kB there; 0: there is none.
std::uint64_t kilobytes(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size(), name) == 0) return std::strtoull(line.c_str() + name.size(), nullptr, 10) << 10;
  }
  return 0;
}

// Of the machine with what it swaps to, or of the container.
std::uint64_t machine_memory() {
  std::uint64_t machine = kilobytes("/proc/meminfo", "MemTotal:");
  machine = machine == 0 ? kUnlimited : machine + kilobytes("/proc/meminfo", "SwapTotal:");
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::uint64_t limit = 0;
    if (std::ifstream(path) >> limit) return std::min(machine, limit);
  }
  return machine;
}

// Set the soft limit to `most` in memory, or to `more` beyond what there is; what is left below it. The system counts
// what was asked for, used or not: threads have stacks that they hardly touch. What is there already without being in
// memory is therefore added.
std::uint64_t set_limit(std::uint64_t most, std::optional<std::uint64_t> more) {
  struct rlimit now {};
  getrlimit(RLIMIT_DATA, &now);
  State& own = state();
  if (!own.before) own.before = now.rlim_cur;
  const std::uint64_t counted = kilobytes("/proc/self/status", "VmData:");
  const std::uint64_t resident = std::min(counted, kilobytes("/proc/self/status", "RssAnon:"));
  std::uint64_t limit = counted - resident + most;
  if (more) limit = std::min(limit, counted + *more);
  limit = std::min<std::uint64_t>({limit, *own.before, now.rlim_max});  // RLIM_INFINITY is the largest number
  now.rlim_cur = limit;
  setrlimit(RLIMIT_DATA, &now);
  return limit - std::min(limit, counted);
}

}  // namespace

void limit_memory() { is_own = true; }

MemoryLimit MemoryLimit::loading(std::uint64_t bytes) { return MemoryLimit(kLoadBytes + kLoadPerByte * bytes); }
MemoryLimit MemoryLimit::first_run(std::uint64_t values) { return MemoryLimit(kRunBytes + kRunPerValue * values); }

MemoryLimit::MemoryLimit(std::uint64_t more) {
  const std::optional<std::uint64_t> size = chosen();
#ifndef __linux__
  return;
#endif
  if (size == std::uint64_t{0} || !(size || is_own)) return;
  most_ = std::min(size.value_or(kUnlimited), machine_memory());
  State& own = state();
  const std::lock_guard<std::mutex> lock(own.mutex);
  // What other threads take meanwhile cannot be told apart.
  const bool alone = ++own.bounded == 1 && !size;
  allowed_ = set_limit(most_, alone ? std::optional<std::uint64_t>(more) : std::nullopt);
}

MemoryLimit::~MemoryLimit() {
  if (!allowed_) return;
  State& own = state();
  const std::lock_guard<std::mutex> lock(own.mutex);
  --own.bounded;
  set_limit(most_, std::nullopt);
}

}  // namespace deploykit
