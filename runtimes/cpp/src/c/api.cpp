// The C ABI: models, predictions, errors.

#include <algorithm>
#include <cstring>
#include <memory>

#include "c/objects.hpp"
#include "deploykit/printable.hpp"

namespace deploykit {
namespace {

deploykit_error& out_of_memory() noexcept {
  // Short texts that need no memory of their own.
  static deploykit_error error{DEPLOYKIT_OTHER, "out of memory", "out of memory", ""};
  return error;
}

deploykit_error* make_error(int code, const char* message, const char* problem, const char* hint) noexcept {
  try {
    return new deploykit_error{code, message, problem, hint};
  } catch (const std::bad_alloc&) {
    return &out_of_memory();
  }
}

// What the caller's version of a struct holds, and zeros for members that it does not know.
template <class T>
T read_struct(const T* given) {
  T copy{};
  if (given == nullptr) return copy;
  if (given->size == 0) throw OptionError("The first member of a struct is its size, found 0.");
  std::memcpy(&copy, given, std::min(given->size, sizeof(T)));
  return copy;
}

Options options_of(const deploykit_options* given) {
  Options options;
  if (given == nullptr) return options;
  const deploykit_options values = read_struct(given);
  if (values.device != nullptr) options.device = values.device;
  options.threads = values.threads;
  options.strict = values.strict != 0;
  options.gpu = values.gpu;
  if (values.workers != 0) options.workers = values.workers;
  if (values.cache != nullptr) options.cache = values.cache;
  if (values.goal != nullptr) options.goal = values.goal;
  if (values.precision != nullptr) options.precision = values.precision;
  options.cuda_graph = values.cuda_graph != 0;
  if (values.outputs != nullptr) options.outputs = values.outputs;
  options.exact = values.exact != 0;
  return options;
}

PredictOptions predict_options_of(const deploykit_predict_options* given) {
  PredictOptions options;
  if (given == nullptr) return options;
  deploykit_predict_options values = deploykit_predict_defaults();
  if (given->size == 0) throw OptionError("The first member of a struct is its size, found 0.");
  std::memcpy(&values, given, std::min(given->size, sizeof values));
  if (values.top_k != 0) options.top_k = values.top_k;
  if (!(values.conf < 0)) options.conf = values.conf;
  if (!(values.iou < 0)) options.iou = values.iou;
  if (values.max_det != 0) options.max_det = values.max_det;
  if (values.height != 0 || values.width != 0) options.imgsz = Size{values.height, values.width};
  if (values.batch != 0) options.batch = values.batch;
  return options;
}

ImageView view_of(const deploykit_image& given) {
  const deploykit_image image = read_struct(&given);
  if (image.order != DEPLOYKIT_RGB && image.order != DEPLOYKIT_BGR) {
    throw OptionError("The order of an image is DEPLOYKIT_RGB or DEPLOYKIT_BGR, found " + std::to_string(image.order) +
                      ".");
  }
  return {image.pixels,
          image.height,
          image.width,
          image.channels,
          image.order == DEPLOYKIT_BGR ? ColorOrder::bgr : ColorOrder::rgb,
          image.row_bytes};
}

// The caller's side of an asynchronous call.
struct Pending {
  deploykit_callback done;
  void* user;
};

void finish(void* user, Result* result, const Error* error) {
  const std::unique_ptr<Pending> pending(static_cast<Pending*>(user));
  deploykit_error* failure = error == nullptr ? nullptr : error_of(*error);
  deploykit_results* results = nullptr;
  if (failure == nullptr) {
    failure = guarded([&] {
      auto made = std::make_unique<deploykit_results>();
      made->items.push_back(std::move(*result));
      results = made.release();
    });
  }
  pending->done(pending->user, results, failure);
}

}  // namespace

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw OptionError(std::string("Wanted ") + name + ", found a null pointer.");
}

deploykit_error* error_of(const Error& error) noexcept {
  return make_error(static_cast<int>(error.code()), error.what(), error.problem().c_str(), error.hint().c_str());
}

deploykit_error* error_of(const std::exception& error) noexcept {
  try {
    const std::string text = printable(error.what());
    return make_error(DEPLOYKIT_OTHER, text.c_str(), text.c_str(), "");
  } catch (const std::bad_alloc&) {
    return &out_of_memory();
  }
}

}  // namespace deploykit

using deploykit::guarded;

const char* deploykit_version(void) { return deploykit::version(); }

deploykit_error* deploykit_use_onnxruntime(const char* library) {
  return guarded([&] {
    deploykit::require(library, "the path of a library");
    deploykit::use_onnxruntime(library);
  });
}

int deploykit_error_code(const deploykit_error* error) { return error == nullptr ? 0 : error->code; }
const char* deploykit_error_message(const deploykit_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}
const char* deploykit_error_problem(const deploykit_error* error) {
  return error == nullptr ? "" : error->problem.c_str();
}
const char* deploykit_error_hint(const deploykit_error* error) { return error == nullptr ? "" : error->hint.c_str(); }

void deploykit_error_free(deploykit_error* error) {
  if (error != &deploykit::out_of_memory()) delete error;
}

deploykit_error* deploykit_model_open(const char* path, const deploykit_options* options, deploykit_model** model) {
  return guarded([&] {
    deploykit::require(path, "the path of a model");
    deploykit::require(model, "a place for the model");
    *model = nullptr;
    deploykit::Model opened(path, deploykit::options_of(options));
    std::string placement = to_json(opened.placement());
    std::string advice = opened.advice();
    *model = new deploykit_model{std::move(opened), std::move(placement), std::move(advice)};
  });
}

void deploykit_model_close(deploykit_model* model) { delete model; }

int deploykit_model_task(const deploykit_model* model) { return static_cast<int>(model->model.spec().task); }

int64_t deploykit_model_class_count(const deploykit_model* model) { return model->model.spec().num_classes; }

const char* deploykit_model_class_name(const deploykit_model* model, int64_t class_id) {
  const auto& classes = model->model.spec().classes;
  const bool known = class_id >= 0 && class_id < static_cast<int64_t>(classes.size());
  return known ? classes[static_cast<std::size_t>(class_id)].c_str() : nullptr;
}

const char* deploykit_model_metadata(const deploykit_model* model, const char* key) {
  const auto& metadata = model->model.metadata();
  // Looked up without making a std::string of the key, which could throw.
  for (const auto& [name, value] : metadata) {
    if (key != nullptr && name == key) return value.c_str();
  }
  return nullptr;
}

int64_t deploykit_model_nodes_on(const deploykit_model* model, const char* provider) {
  int64_t nodes = 0;
  deploykit_error_free(guarded([&] {
    const auto providers = model->model.placement().providers;
    const auto found = provider == nullptr ? providers.end() : providers.find(provider);
    if (found != providers.end()) nodes = found->second;
  }));
  return nodes;
}

const char* deploykit_model_placement(const deploykit_model* model) { return model->placement.c_str(); }

const char* deploykit_model_advice(const deploykit_model* model) { return model->advice.c_str(); }

deploykit_predict_options deploykit_predict_defaults(void) {
  deploykit_predict_options options{};
  options.size = sizeof options;
  options.conf = -1;
  options.iou = -1;
  return options;
}

deploykit_error* deploykit_predict(const deploykit_model* model, const deploykit_image* images, size_t count,
                                   const deploykit_predict_options* options, deploykit_results** results) {
  return guarded([&] {
    deploykit::require(model, "a model");
    deploykit::require(results, "a place for the results");
    if (count > 0) deploykit::require(images, "images");
    *results = nullptr;
    const auto chosen = deploykit::predict_options_of(options);
    auto made = std::make_unique<deploykit_results>();
    if (count == 1) {
      made->items.resize(1);
      model->model.predict(deploykit::view_of(*images), made->items.front(), chosen);
    } else {
      std::vector<deploykit::ImageView> views;
      // By the caller's size of the struct, which an older header has smaller.
      const auto* at = reinterpret_cast<const unsigned char*>(images);
      for (size_t i = 0; i < count; ++i, at += images->size) {
        deploykit_image image{};
        std::memcpy(&image, at, std::min(images->size, sizeof image));
        views.push_back(deploykit::view_of(image));
      }
      made->items = model->model.predict(views, chosen);
    }
    *results = made.release();
  });
}

deploykit_error* deploykit_predict_async(const deploykit_model* model, const deploykit_image* image,
                                         const deploykit_predict_options* options, deploykit_callback done,
                                         void* user) {
  return guarded([&] {
    deploykit::require(model, "a model");
    deploykit::require(image, "an image");
    if (done == nullptr) throw deploykit::OptionError("Wanted a callback, found a null pointer.");
    auto pending = std::make_unique<deploykit::Pending>(deploykit::Pending{done, user});
    model->model.submit(deploykit::view_of(*image), deploykit::predict_options_of(options), deploykit::finish,
                        pending.get());
    pending.release();
  });
}

deploykit_error* deploykit_infer(const deploykit_model* model, const deploykit_feed* feeds, size_t count,
                                 deploykit_tensors** tensors) {
  return guarded([&] {
    deploykit::require(model, "a model");
    deploykit::require(tensors, "a place for the tensors");
    if (count > 0) deploykit::require(feeds, "feeds");
    *tensors = nullptr;
    std::vector<deploykit::Feed> given;
    const auto* at = reinterpret_cast<const unsigned char*>(feeds);
    for (size_t i = 0; i < count; ++i, at += feeds->size) {
      deploykit_feed feed{};
      std::memcpy(&feed, at, std::min(feeds->size, sizeof feed));
      if (feed.size == 0) throw deploykit::OptionError("The first member of a struct is its size, found 0.");
      deploykit::require(feed.name, "the name of a feed");
      if (feed.axes > 0) deploykit::require(feed.shape, "the shape of a feed");
      if (feed.type < DEPLOYKIT_FLOAT32 || feed.type >= DEPLOYKIT_OTHER_TYPE) {
        throw deploykit::OptionError("No such element type: " + std::to_string(feed.type) + ".");
      }
      given.push_back({feed.name, static_cast<deploykit::DType>(feed.type),
                       std::vector<std::int64_t>(feed.shape, feed.shape + feed.axes), feed.data});
    }
    auto made = std::make_unique<deploykit_tensors>();
    made->items = model->model.infer(given);
    *tensors = made.release();
  });
}
