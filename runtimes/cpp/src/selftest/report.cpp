// What a self-test found, in words and as JSON: the texts of Python's SelfTest.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "deploykit/printable.hpp"
#include "deploykit/self_test.hpp"
#include "text/json.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

double share(const Difference& found) {
  if (found.allowed != 0) return found.found / found.allowed;
  return found.found == 0 ? 0.0 : std::numeric_limits<double>::infinity();
}

using Worst = std::pair<const CaseResult*, const Difference*>;

// The output that uses most of its tolerance, those that fail first; null where no case ran.
Worst worst_of(const SelfTest& found) {
  Worst worst{nullptr, nullptr};
  for (const CaseResult& golden : found.cases) {
    for (const Difference& each : golden.outputs) {
      const auto key = [](const Difference& item) { return std::make_pair(!item.ok, share(item)); };
      if (worst.second == nullptr || key(*worst.second) < key(each)) worst = {&golden, &each};
    }
  }
  return worst;
}

// Not printf: its decimal point follows the program's locale.
std::string formatted(double value, std::chars_format format, int digits) {
  if (!std::isfinite(value)) return number_text(value);
  std::array<char, 400> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format, digits).ptr;
  return std::string(buffer.data(), end);
}

std::string powers(double value) { return formatted(value, std::chars_format::scientific, 2); }

// JSON has no infinity: Python writes it as a text.
void write_number(JsonWriter& json, const char* name, double value) {
  json.key(name);
  if (std::isfinite(value)) {
    json.value(value);
  } else {
    json.value(number_text(value));
  }
}

void write_difference(JsonWriter& json, const Difference& found) {
  json.begin_object();
  json.member("output", found.output);
  json.member("part", found.part);
  write_number(json, "found", found.found);
  write_number(json, "allowed", found.allowed);
  write_number(json, "scale", found.scale);
  json.member("agreed", found.agreed);
  json.member("answers", found.answers);
  json.member("ok", found.ok);
  json.end_object();
}

}  // namespace

bool CaseResult::ok() const {
  return error.empty() && std::all_of(outputs.begin(), outputs.end(), [](const Difference& each) { return each.ok; });
}

bool SelfTest::ok() const {
  return worst_of(*this).first != nullptr &&
         std::all_of(cases.begin(), cases.end(), [](const CaseResult& each) { return each.ok(); });
}

std::string SelfTest::problem() const {
  for (const CaseResult& golden : cases) {
    if (!golden.error.empty()) return golden.title + ": " + golden.error;
  }
  const auto [golden, found] = worst_of(*this);
  if (found == nullptr) return "no golden case fits the shapes that this engine was built for";
  if (found->ok) return {};
  if (found->agreed < found->answers && share(*found) <= 1) {
    return printable(golden->title + ": of " + found->output + " only " + std::to_string(found->agreed) + " of " +
                     std::to_string(found->answers) + " answers agree");
  }
  return printable(golden->title + ": " + found->output + " is off by " + powers(found->found) + " (" + found->part +
                   "), allowed is " + powers(found->allowed));
}

std::string SelfTest::summary() const {
  if (!ok()) return "self-test failed: " + problem();
  const auto ran =
      std::count_if(cases.begin(), cases.end(), [](const CaseResult& each) { return !each.outputs.empty(); });
  const double used = 100 * share(*worst_of(*this).second);
  return "self-test passed: " + std::to_string(ran) + " golden cases at " + precision + ", at most " +
         formatted(used, std::chars_format::fixed, 0) + " % of the tolerance used, " +
         formatted(seconds, std::chars_format::fixed, 2) + " s";
}

std::string to_json(const SelfTest& found) {
  JsonWriter json;
  json.begin_object();
  json.member("ok", found.ok());
  json.member("problem", found.ok() ? std::string() : found.problem());
  json.member("precision", found.precision);
  json.member("seconds", std::nearbyint(found.seconds * 1e4) / 1e4);
  json.key("placement");
  write_placement(json, found.placement);
  json.key("cases");
  json.begin_array();
  for (const CaseResult& golden : found.cases) {
    json.begin_object();
    json.member("case", golden.title);
    json.member("ok", golden.ok());
    json.member("skipped", golden.skipped);
    json.member("error", golden.error);
    json.key("outputs");
    json.begin_array();
    for (const Difference& each : golden.outputs) write_difference(json, each);
    json.end_array();
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return json.text();
}

}  // namespace deploykit
