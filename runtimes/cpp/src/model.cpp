#include "deploykit/model.hpp"

#include <new>
#include <stdexcept>

#include "suitability.hpp"
#include "machine/cpu.hpp"
#include "ort/api/errors.hpp"
#include "ort/runner.hpp"
#include "selftest/run.hpp"

#ifndef DEPLOYKIT_VERSION
#define DEPLOYKIT_VERSION "unknown"
#endif

namespace deploykit {

class Model::Impl : public Runner {
 public:
  using Runner::Runner;
};

namespace {

// Memory that runs out is reported as such, also for sizes that no memory has.
template <class Function>
auto telling_memory(const char* what, const std::string& file, Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    throw_out_of_memory(what + file);
  } catch (const std::length_error&) {
    throw_out_of_memory(what + file);
  }
}

}  // namespace

Model::Model(const std::string& path, const Options& options)
    : impl_(telling_memory("loading ", path, [&] { return std::make_unique<Impl>(path, options); })) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const Spec& Model::spec() const { return impl_->spec(); }
const std::vector<TensorInfo>& Model::inputs() const { return impl_->engine().inputs(); }
const std::vector<TensorInfo>& Model::outputs() const { return impl_->engine().outputs(); }
const std::map<std::string, std::string>& Model::metadata() const { return impl_->engine().metadata(); }
Placement Model::placement() const { return impl_->engine().placement(); }

std::string Model::advice() const {
  return spec().precision ? advice_of(*spec().precision, placement(), cpu_class()) : std::string();
}

Result Model::predict(const ImageView& image, const PredictOptions& options) const {
  Result result;
  predict(image, result, options);
  return result;
}

void Model::predict(const ImageView& image, Result& result, const PredictOptions& options) const {
  telling_memory("answering for an image", {}, [&] { impl_->predict(image, options, result); });
}

std::vector<Result> Model::predict(const std::vector<ImageView>& images, const PredictOptions& options,
                                   Timings* timings) const {
  return telling_memory("answering for images", {}, [&] { return impl_->predict(images, options, timings); });
}

void Model::submit(const ImageView& image, const PredictOptions& options, Callback done, void* user) const {
  Impl* impl = impl_.get();
  impl->workers().submit([impl, image, options, done, user] {
    Result result;
    try {
      telling_memory("answering for an image", {}, [&] { impl->predict(image, options, result); });
    } catch (const Error& error) {
      return done(user, nullptr, &error);
    } catch (const std::exception& error) {
      const Error wrapped(ErrorCode::other, error.what(), "");
      return done(user, nullptr, &wrapped);
    }
    done(user, &result, nullptr);
  });
}

std::vector<Tensor> Model::infer(const std::vector<Feed>& feeds) const {
  return telling_memory("running the model", {}, [&] { return impl_->infer(feeds); });
}

SelfTest Model::self_test() const {
  return telling_memory("running the golden cases", {}, [&] {
    const auto infer = [this](const std::vector<Feed>& feeds) { return impl_->infer(feeds); };
    return selftest::self_test({spec(), metadata(), placement(), infer});
  });
}

const char* version() { return DEPLOYKIT_VERSION; }

}  // namespace deploykit
