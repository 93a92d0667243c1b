#include "deploykit/model.hpp"

#include "runner.hpp"

#ifndef DEPLOYKIT_VERSION
#define DEPLOYKIT_VERSION "unknown"
#endif

namespace deploykit {

class Model::Impl : public Runner {
 public:
  using Runner::Runner;
};

Model::Model(const std::string& path, const Options& options) : impl_(std::make_unique<Impl>(path, options)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const Spec& Model::spec() const { return impl_->spec(); }
const std::vector<TensorInfo>& Model::inputs() const { return impl_->engine().inputs(); }
const std::vector<TensorInfo>& Model::outputs() const { return impl_->engine().outputs(); }
const std::map<std::string, std::string>& Model::metadata() const { return impl_->engine().metadata(); }
Placement Model::placement() const { return impl_->engine().placement(); }

Result Model::predict(const ImageView& image, const PredictOptions& options) const {
  Result result;
  impl_->predict(image, options, result);
  return result;
}

void Model::predict(const ImageView& image, Result& result, const PredictOptions& options) const {
  impl_->predict(image, options, result);
}

std::vector<Result> Model::predict(const std::vector<ImageView>& images, const PredictOptions& options,
                                   Timings* timings) const {
  return impl_->predict(images, options, timings);
}

void Model::submit(const ImageView& image, const PredictOptions& options, Callback done, void* user) const {
  Impl* impl = impl_.get();
  impl->workers().submit([impl, image, options, done, user] {
    Result result;
    try {
      impl->predict(image, options, result);
    } catch (const Error& error) {
      return done(user, nullptr, &error);
    } catch (const std::exception& error) {
      const Error wrapped(ErrorCode::other, error.what(), "");
      return done(user, nullptr, &wrapped);
    }
    done(user, &result, nullptr);
  });
}

std::vector<Tensor> Model::infer(const std::vector<Feed>& feeds) const { return impl_->infer(feeds); }

const char* version() { return DEPLOYKIT_VERSION; }

}  // namespace deploykit
