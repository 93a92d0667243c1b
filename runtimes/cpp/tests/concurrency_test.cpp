// Many threads on one model, and answers that come later. ThreadSanitizer runs these too.

#include <deploykit/deploykit.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "golden_files.hpp"
#include "models.hpp"

namespace {

struct Waiter {
  std::mutex mutex;
  std::condition_variable done;
  deploykit_results* results = nullptr;
  deploykit_error* error = nullptr;
  bool finished = false;
};

void finish(void* user, deploykit_results* results, deploykit_error* error) {
  auto* waiter = static_cast<Waiter*>(user);
  const std::lock_guard<std::mutex> lock(waiter->mutex);
  waiter->results = results;
  waiter->error = error;
  waiter->finished = true;
  waiter->done.notify_one();
}

}  // namespace

TEST(many_threads_get_the_same_answers) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  for (const char* name : {"yolo.onnx", "segment.onnx", "finished_thresholds.onnx", "features.onnx"}) {
    const deploykit::Model model(model_path(name), deploykit::Options{}.with_threads(1));
    const deploykit::ImageView image(photo.pixels.data(), photo.height, photo.width);
    const std::string wanted = to_json(model.predict(image));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        deploykit::Result result;
        for (int i = 0; i < 8; ++i) {
          model.predict(image, result);
          if (to_json(result) != wanted) ++wrong;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_EQUAL(wrong.load(), 0);
  }
}

TEST(futures_arrive) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  const deploykit::Model model(model_path("pose.onnx"), deploykit::Options{}.with_threads(1).with_workers(3));
  const deploykit::ImageView image(photo.pixels.data(), photo.height, photo.width);
  const std::string wanted = to_json(model.predict(image));
  std::vector<std::future<deploykit::Result>> futures;
  for (int i = 0; i < 12; ++i) futures.push_back(deploykit::predict_async(model, image));
  for (auto& future : futures) CHECK_EQUAL(to_json(future.get()), wanted);
}

TEST(a_model_answers_before_it_goes) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  std::vector<std::future<deploykit::Result>> futures;
  {
    const deploykit::Model model(model_path("yolo.onnx"), deploykit::Options{}.with_threads(1));
    for (int i = 0; i < 5; ++i) {
      futures.push_back(deploykit::predict_async(model, {photo.pixels.data(), photo.height, photo.width}));
    }
  }
  for (auto& future : futures) CHECK(!future.get().detections.empty());
}

TEST(threads_with_batches_tensors_and_sizes_of_their_own) {
  const golden::Photo wide = golden::read_photo("cat_wide.rgb 100 150");
  const golden::Photo tall = golden::read_photo("astronaut_tall.rgb 120 81");
  const deploykit::Model model(model_path("finished_detect.onnx"),
                               deploykit::Options{}.with_threads(1).with_goal("throughput"));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 6; ++i) {
        const golden::Photo& photo = (t + i) % 2 == 0 ? wide : tall;
        const deploykit::ImageView image(photo.pixels.data(), photo.height, photo.width);
        const auto results = model.predict(std::vector<deploykit::ImageView>{image, image});
        const deploykit::Feed feed{
            "images", deploykit::DType::uint8, {1, photo.height, photo.width, 3}, photo.pixels.data()};
        const auto tensors = model.infer({feed});
        if (results.size() != 2 || results[1].image_size.height != photo.height || tensors.empty()) ++wrong;
        if (model.placement().device != "cpu") ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(wrong.load(), 0);
}

TEST(c_asynchronous) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  deploykit_model* model = nullptr;
  CHECK(deploykit_model_open(model_path("yolo.onnx").c_str(), nullptr, &model) == nullptr);
  deploykit_image image{sizeof image, photo.pixels.data(), 100, 150, 3, DEPLOYKIT_RGB, 0};
  for (const bool broken : {false, true}) {
    Waiter waiter;
    if (broken) image.channels = 2;
    CHECK(deploykit_predict_async(model, &image, nullptr, finish, &waiter) == nullptr);
    std::unique_lock<std::mutex> lock(waiter.mutex);
    waiter.done.wait(lock, [&] { return waiter.finished; });
    CHECK((waiter.error != nullptr) == broken);
    CHECK((waiter.results != nullptr) != broken);
    deploykit_results_free(waiter.results);
    deploykit_error_free(waiter.error);
  }
  deploykit_model_close(model);
}
