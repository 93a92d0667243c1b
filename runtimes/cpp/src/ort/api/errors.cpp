#include "ort/api/errors.hpp"

#include <algorithm>
#include <string_view>

#include "deploykit/error.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr const char* kDoctor = "`deploykit doctor` shows what this machine can run.";
constexpr const char* kLess = "Give it smaller images or a smaller batch, or a machine with more memory.";
constexpr const char* kLift =
    "Models of its size take less; DEPLOYKIT_MEMORY=off sets no limit, and DEPLOYKIT_MEMORY=16G one of 16 GB.";
constexpr std::string_view kDigits = "0123456789";

bool holds(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text.find(word) != std::string::npos; });
}

bool is_broken_model(const ort::Failure& failure, const std::string& device) {
  const int code = failure.status();
  if (code == ort::kInvalidProtobuf || code == ort::kInvalidGraph || code == ort::kInvalidArgument ||
      code == ort::kNoModel || code == ort::kNoSuchFile) {
    return true;
  }
  // Other versions of ONNX Runtime may know more operators and formats.
  return device == "cpu" && (code == ort::kFail || code == ort::kRuntimeException) &&
         !holds(failure.message(), {"nsupported", "not implemented", "registered", "not support"}) &&
         (!holds(failure.message(), {"opset"}) || holds(failure.message(), {"Missing opset"}));
}

// "Name" of the text between two others.
std::string between(const std::string& text, std::string_view before, std::string_view after) {
  const std::size_t start = text.find(before);
  if (start == std::string::npos) return "";
  const std::size_t stop = text.find(after, start + before.size());
  return stop == std::string::npos ? "" : text.substr(start + before.size(), stop - start - before.size());
}

std::string bytes_asked(const std::string& text) {
  for (const std::string_view before : {"requested buffer of size ", "requested bytes of "}) {
    const std::size_t found = text.find(before);
    if (found == std::string::npos) continue;
    const std::size_t start = found + before.size();
    const std::size_t stop = std::min(text.find_first_not_of(kDigits, start), text.size());
    if (stop > start) return text.substr(start, stop - start);
  }
  return "";
}

std::string megabytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MB"; }

}  // namespace

void throw_load_error(const ort::Failure& failure, const std::string& path, const std::string& device,
                      std::optional<std::uint64_t> allowed) {
  const std::string asked = bytes_asked(failure.message());
  if (!asked.empty() || holds(failure.message(), {"bad_alloc"})) {
    throw ModelError(path + " needs more memory than " +
                         (allowed ? "the " + megabytes(*allowed) + " that it may take" : "there is") +
                         " to load it with ONNX Runtime " + ort::library().version +
                         (asked.empty() ? "." : ": it asks for " + asked + " bytes."),
                     allowed ? kLift : "Free memory, or load it on a larger machine.");
  }
  if (holds(failure.message(), {"Unsupported model IR version"})) {
    throw ModelError(path + " is in a newer form of ONNX than ONNX Runtime " + ort::library().version + " reads: " +
                         failure.line(),
                     "Update ONNX Runtime, or write the file again with an older ir_version.");
  }
  if (is_broken_model(failure, device)) {
    throw ModelError(path + " is not a valid ONNX model: " + failure.line(),
                     "If it is a checkpoint, export it first: deploykit export CHECKPOINT");
  }
  throw RuntimeUnavailableError(
      "ONNX Runtime " + ort::library().version + " cannot run " + path + " on " + device + ": " + failure.line(),
      kDoctor);
}

void throw_run_error(const ort::Failure& failure, std::optional<std::uint64_t> allowed) {
  const std::string& said = failure.message();
  const std::string kind = between(said, "while running ", " node. Name:'");
  const std::string name = between(said, " node. Name:'", "'");
  const std::string where = kind.empty() ? "" : " in the node " + kind + (name.empty() ? "" : " " + quoted(name));
  const std::string asked = bytes_asked(said);
  const std::string version = ort::library().version;
  if (!asked.empty() || holds(said, {"bad_alloc", "ut of memory", "Failed to allocate", "Integer overflow"})) {
    throw ModelError("ONNX Runtime " + version + " ran out of memory" + where +
                         (asked.empty() ? "" : ", which asks for " + asked + " bytes") +
                         (allowed ? "; the model may take " + megabytes(*allowed) : "") + ".",
                     allowed ? kLift : kLess);
  }
  throw ModelError("ONNX Runtime " + version + " cannot run the model" + where + ": " + failure.line(),
                   "The graph contradicts itself or these inputs: export it again.");
}

void throw_out_of_memory(const std::string& what) { throw ModelError("Memory ran out while " + what + ".", kLess); }

}  // namespace deploykit
