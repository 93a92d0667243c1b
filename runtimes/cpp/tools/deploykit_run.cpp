// deploykit-run: answers as JSON, and the test of an engine by its golden cases, for devices without Python.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <map>

#include <deploykit/memory.hpp>
#include <deploykit/model.hpp>
#include <deploykit/printable.hpp>

#include "arguments.hpp"
#include "images.hpp"
#include "text/json.hpp"
#include "text/text.hpp"

namespace {

constexpr std::size_t kChunk = 8;
constexpr int kSelfTestFailed = 3;

// What was answered so far, in the document that Python prints.
struct Run {
  deploykit::JsonWriter entries;
  std::int64_t images = 0;
  std::int64_t failed = 0;
  double decode_ms = 0;
  deploykit::Timings timings;

  void begin(const std::string& path) {
    ++images;
    entries.begin_object();
    entries.member("image", path);
  }

  void add(const std::string& path, const deploykit::Result& result) {
    begin(path);
    write_members(entries, result);
    entries.end_object();
  }

  void add(const std::string& path, const deploykit::InputError& error) {
    ++failed;
    std::fprintf(stderr, "error: %s\n", error.what());
    begin(path);
    entries.member("error", error.problem());
    entries.end_object();
  }
};

// When a group of images fails, each is tried alone, to find the bad one.
void answer(const deploykit::Model& model, const std::vector<std::string>& paths,
            const deploykit::PredictOptions& options, Run& run) {
  try {
    const auto started = std::chrono::steady_clock::now();
    std::vector<tool::Image> images;
    for (const std::string& path : paths) images.push_back(tool::read_image(path, model.spec()));
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - started;
    std::vector<deploykit::ImageView> views;
    for (const tool::Image& image : images) views.push_back(image.view());
    const auto results = model.predict(views, options, &run.timings);
    run.decode_ms += elapsed.count();
    for (std::size_t i = 0; i < paths.size(); ++i) run.add(paths[i], results[i]);
  } catch (const deploykit::InputError& error) {
    if (paths.size() == 1) return run.add(paths.front(), error);
    for (const std::string& path : paths) answer(model, {path}, options, run);
  }
}

void print(const std::string& model, const deploykit::Placement& placement, const Run& run) {
  deploykit::JsonWriter json;
  json.begin_object();
  json.member("model", model);
  json.key("placement");
  write_placement(json, placement);
  json.member("images", run.images);
  json.member("failed", run.failed);
  json.key("timings_ms");
  json.begin_object();
  json.member("decode", run.decode_ms);
  json.member("preprocess", run.timings.preprocess_ms);
  json.member("infer", run.timings.infer_ms);
  json.member("postprocess", run.timings.postprocess_ms);
  json.end_object();
  json.key("results");
  json.raw(run.entries.text());
  json.end_object();
  std::printf("%s\n", json.text().c_str());
}

// The document of `deploykit selftest --json`.
void print_json(const std::string& model, const deploykit::SelfTest& found) {
  deploykit::JsonWriter json;
  json.begin_object();
  json.member("model", model);
  json.key("tests");
  json.begin_array();
  json.raw(to_json(found));
  json.end_array();
  json.key("not_run");
  json.begin_array();
  json.end_array();
  json.end_object();
  std::printf("%s\n", json.text().c_str());
}

void print(const std::string& golden, const deploykit::Difference& found) {
  std::printf("%s: %s %s off by %s, allowed %s", golden.c_str(), deploykit::printable(found.output).c_str(),
              found.part.c_str(), deploykit::short_number(found.found).c_str(),
              deploykit::short_number(found.allowed).c_str());
  if (found.answers > 0) {
    std::printf(", %s of %s answers agree", std::to_string(found.agreed).c_str(),
                std::to_string(found.answers).c_str());
  }
  std::printf(", %s\n", found.ok ? "ok" : "wrong");
}

// A line for every case and output, and one for all of them.
void print(const deploykit::SelfTest& found) {
  for (const deploykit::CaseResult& golden : found.cases) {
    if (golden.outputs.empty()) {
      const std::string why = golden.error.empty() ? "left out: " + golden.skipped : golden.error;
      std::printf("%s: %s\n", golden.title.c_str(), deploykit::printable(why).c_str());
    }
    for (const deploykit::Difference& each : golden.outputs) print(golden.title, each);
  }
  std::printf("%s\n", found.summary().c_str());
}

int self_test(const std::string& path, const deploykit::Model& model, bool json) {
  const deploykit::SelfTest found = model.self_test();
  if (json) {
    print_json(path, found);
  } else {
    print(found);
  }
  if (found.ok()) return 0;
  const deploykit::Placement& where = found.placement;
  const std::string engine = where.engine + " " + where.version + " " + where.device + ", " + where.precision;
  std::fprintf(stderr, "error: The self-test failed on %s: %s.\n  Try --precision model or another --runtime.\n",
               engine.c_str(), found.problem().c_str());
  return kSelfTestFailed;
}

int run(int argc, char** argv) {
  if (argc == 1) {
    std::fputs(tool::kUsage, stderr);
    return static_cast<int>(deploykit::ErrorCode::option);
  }
  const tool::Arguments arguments = tool::parse(argc, argv);
  if (arguments.help) {
    std::fputs(tool::kUsage, stdout);
    return 0;
  }
  deploykit::limit_memory();
  const deploykit::Model model(arguments.model, arguments.engine);
  if (model.spec().inferred) {
    for (const std::string& text : model.spec().assumed) {
      std::fprintf(stderr, "Assumed: %s\n", deploykit::printable(text).c_str());
    }
  }
  const std::string advice = model.advice();
  if (!advice.empty()) std::fprintf(stderr, "warning: %s\n", deploykit::printable(advice).c_str());
  if (arguments.self_test) return self_test(arguments.model, model, arguments.json);
  Run run;
  run.entries.begin_array();
  const auto chunk = static_cast<std::size_t>(std::max<std::int64_t>(1, arguments.predict.batch.value_or(kChunk)));
  const auto& images = arguments.images;
  for (std::size_t start = 0; start < images.size(); start += chunk) {
    const auto first = images.begin() + static_cast<std::ptrdiff_t>(start);
    const auto stop = images.begin() + static_cast<std::ptrdiff_t>(std::min(images.size(), start + chunk));
    answer(model, {first, stop}, arguments.predict, run);
  }
  run.entries.end_array();
  print(arguments.model, model.placement(), run);
  return run.failed > 0 ? static_cast<int>(deploykit::ErrorCode::input) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const deploykit::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", deploykit::printable(error.what()).c_str());
    return 1;
  }
}
