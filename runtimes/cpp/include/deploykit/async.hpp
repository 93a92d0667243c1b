// Asynchronous predictions as futures.
#pragma once

#include <exception>
#include <future>
#include <memory>
#include <utility>

#include "deploykit/model.hpp"

namespace deploykit {

// The pixels must stay where they are, and the model alive, until the future is ready.
inline std::future<Result> predict_async(const Model& model, const ImageView& image,
                                         const PredictOptions& options = {}) {
  auto promise = std::make_unique<std::promise<Result>>();
  auto future = promise->get_future();
  model.submit(
      image, options,
      [](void* user, Result* result, const Error* error) {
        const std::unique_ptr<std::promise<Result>> done(static_cast<std::promise<Result>*>(user));
        if (error == nullptr) {
          done->set_value(std::move(*result));
          return;
        }
        // Thrown again as the class that its code names, so that callers can catch that.
        switch (error->code()) {
          case ErrorCode::option:
            done->set_exception(std::make_exception_ptr(OptionError(error->problem(), error->hint())));
            break;
          case ErrorCode::model:
            done->set_exception(std::make_exception_ptr(ModelError(error->problem(), error->hint())));
            break;
          case ErrorCode::input:
            done->set_exception(std::make_exception_ptr(InputError(error->problem(), error->hint())));
            break;
          default: done->set_exception(std::make_exception_ptr(*error)); break;
        }
      },
      promise.get());
  promise.release();
  return future;
}

}  // namespace deploykit
