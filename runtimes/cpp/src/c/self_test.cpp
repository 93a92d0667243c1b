// The C ABI: the golden cases of a model.

#include <memory>

#include "c/objects.hpp"

deploykit_error* deploykit_self_test(const deploykit_model* model, deploykit_report** report) {
  return deploykit::guarded([&] {
    deploykit::require(model, "a model");
    deploykit::require(report, "a place for the report");
    *report = nullptr;
    auto made = std::make_unique<deploykit_report>();
    const deploykit::SelfTest found = model->model.self_test();
    made->ok = found.ok();
    made->cases = found.cases.size();
    made->problem = found.ok() ? std::string() : found.problem();
    made->summary = found.summary();
    made->json = to_json(found);
    *report = made.release();
  });
}

void deploykit_report_free(deploykit_report* report) { delete report; }

int deploykit_report_ok(const deploykit_report* report) { return report != nullptr && report->ok ? 1 : 0; }

const char* deploykit_report_problem(const deploykit_report* report) {
  return report == nullptr ? "" : report->problem.c_str();
}

const char* deploykit_report_summary(const deploykit_report* report) {
  return report == nullptr ? "" : report->summary.c_str();
}

size_t deploykit_report_case_count(const deploykit_report* report) { return report == nullptr ? 0 : report->cases; }

const char* deploykit_report_json(const deploykit_report* report) {
  return report == nullptr ? nullptr : report->json.c_str();
}
