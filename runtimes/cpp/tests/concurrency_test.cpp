// Many threads on one model, and answers that come later. ThreadSanitizer runs these too.

#include <atomic>
#include <thread>

#include "golden_files.hpp"
#include "models.hpp"

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
