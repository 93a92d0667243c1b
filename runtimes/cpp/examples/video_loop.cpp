// A camera loop: while one frame is answered, the next is grabbed.   example_video_loop yolo.onnx photo.jpg
//
// The frames are one photo, shifted a little each time; with OpenCV they would come from
// cv::VideoCapture, as deploykit::ImageView(frame.data, frame.rows, frame.cols, 3, deploykit::ColorOrder::bgr).
#include <deploykit/deploykit.hpp>
#include <stb_image.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

namespace {

constexpr int kFrames = 20;

void grab(const stbi_uc* photo, std::size_t bytes, int number, std::vector<stbi_uc>& frame) {
  const std::size_t shift = std::min(bytes, std::size_t{12} * static_cast<std::size_t>(number));
  frame.assign(photo + shift, photo + bytes);
  frame.insert(frame.end(), photo, photo + shift);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL IMAGE\n", argv[0]), 2;
  int width = 0;
  int height = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> photo(stbi_load(argv[2], &width, &height, nullptr, 3),
                                                        stbi_image_free);
  if (photo == nullptr) return std::fprintf(stderr, "%s: %s\n", argv[2], stbi_failure_reason()), 8;
  const std::size_t bytes = std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  try {
    const deploykit::Model model(argv[1]);
    std::vector<stbi_uc> frames[2];
    grab(photo.get(), bytes, 0, frames[0]);
    const auto started = std::chrono::steady_clock::now();
    std::size_t found = 0;
    for (int number = 0; number < kFrames; ++number) {
      std::vector<stbi_uc>& current = frames[number % 2];
      auto answer = deploykit::predict_async(model, {current.data(), height, width});
      if (number + 1 < kFrames) grab(photo.get(), bytes, number + 1, frames[(number + 1) % 2]);
      found += answer.get().detections.size();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    std::printf("%d frames, %zu detections, %.1f frames per second\n", kFrames, found, kFrames / seconds.count());
  } catch (const deploykit::Error& error) {
    return std::fprintf(stderr, "error: %s\n", error.what()), static_cast<int>(error.code());
  }
  return 0;
}
