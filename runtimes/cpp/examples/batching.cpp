// Server-side batching: requests of many clients run together.   example_batching model.onnx photo.jpg
#include <condition_variable>
#include <cstdio>
#include <deploykit/deploykit.hpp>
#include <thread>

#include "images.hpp"

// Clients push; one thread takes all that wait and answers them with one call.
class Batcher {
 public:
  explicit Batcher(const deploykit::Model& model) : model_(model), thread_(&Batcher::serve, this) {}
  ~Batcher() { push({}), thread_.join(); }

  std::future<deploykit::Result> push(deploykit::ImageView image) {
    const std::lock_guard<std::mutex> lock(mutex_);
    images_.push_back(image);
    answers_.emplace_back();
    arrived_.notify_one();
    return answers_.back().get_future();
  }

 private:
  void serve() {
    for (bool stop = false; !stop;) {
      std::unique_lock<std::mutex> lock(mutex_);
      arrived_.wait(lock, [this] { return !images_.empty(); });
      std::vector<deploykit::ImageView> images = std::exchange(images_, {});
      std::vector<std::promise<deploykit::Result>> answers = std::exchange(answers_, {});
      lock.unlock();
      if ((stop = images.back().pixels == nullptr)) images.pop_back();  // an empty request is the end
      try {
        auto results = model_.predict(images);
        for (std::size_t i = 0; i < images.size(); ++i) answers[i].set_value(std::move(results[i]));
      } catch (const deploykit::Error&) {
        for (std::size_t i = 0; i < images.size(); ++i) answers[i].set_exception(std::current_exception());
      }
      std::printf("answered %zu together\n", images.size());
    }
  }

  const deploykit::Model& model_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<deploykit::ImageView> images_;
  std::vector<std::promise<deploykit::Result>> answers_;
  std::thread thread_;
};

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL IMAGE\n", argv[0]), 2;
  const tool::Image photo = tool::read_image(argv[2]);
  const deploykit::Model model(argv[1]);
  Batcher batcher(model);
  std::vector<std::future<deploykit::Result>> answers;
  while (answers.size() < 8) answers.push_back(batcher.push(photo.view()));
  return answers.back().get().spec != nullptr ? 0 : 1;
} catch (const deploykit::Error& error) {
  return std::fprintf(stderr, "error: %s\n", error.what()), static_cast<int>(error.code());
}
