#include "ort/rewrites/rewrite.hpp"

#include <algorithm>
#include <stdexcept>

#include "machine/cpu.hpp"
#include "onnx/mapping.hpp"
#include "ort/rewrites/saturation.hpp"
#include "ort/rewrites/unsigned.hpp"

namespace deploykit {
namespace {

// Where a file is this large, a second copy of it matters more than what a rewritten graph saves.
constexpr std::size_t kLargest = std::size_t{256} << 20;

bool is_quantised(const OnnxFile& file) {
  return std::any_of(file.weights.begin(), file.weights.end(),
                     [](const auto& item) { return item.first == "int8" && item.second > 0; });
}

void apply(const char* name, std::optional<std::string> model, Form& form) {
  if (!model) return;
  form.model = std::move(*model);
  form.rewrites.emplace_back(name);
}

bool is_left_signed(std::string_view model) {
  try {
    return processor_saturates() && keeps_signed(model);
  } catch (const std::invalid_argument&) {
    return false;  // for ONNX Runtime to refuse
  }
}

}  // namespace

Form rewrite(const std::string& path, const Options& options, const OnnxFile& file) {
  Form form;
  if (options.device != "cpu" || !is_x86() || !is_quantised(file)) return form;
  const Mapping mapping(path);
  const auto model = [&] { return form.model.empty() ? mapping.bytes() : std::string_view(form.model); };
  if (!options.exact && file.external.empty() && mapping.bytes().size() <= kLargest) {
    const bool is_ours = file.metadata.count("deploykit.format") > 0;
    if (is_ours) apply("unsigned_activations", make_unsigned(model()), form);
    if (processor_saturates()) apply("unsigned_weights", widen_products(model()), form);
  }
  // A product of bytes with its float bias has a kernel, and the Gemm that ONNX Runtime would make of them none.
  if (!form.rewrites.empty() && form.rewrites.front() == "unsigned_activations") {
    form.settings.emplace_back("optimization.disable_specified_optimizers", "MatMulAddFusion");
  }
  if (is_left_signed(model())) form.settings.emplace_back("session.qdqisint8allowed", "1");
  return form;
}

}  // namespace deploykit
