// Boxes, drawn into a PNG.   example_detect yolo.onnx street.jpg boxes.png
#include <deploykit/deploykit.hpp>
#include <stb_image.h>
#include <stb_image_write.h>

#include <algorithm>
#include <cstdio>
#include <memory>

namespace {

struct Canvas {
  stbi_uc* pixels;
  int width;
  int height;

  void dot(int x, int y) {
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    stbi_uc* pixel = pixels + 3 * (y * width + x);
    pixel[0] = 255;
    pixel[1] = 64;
    pixel[2] = 0;
  }

  void draw(const deploykit::Box& box) {
    const int left = static_cast<int>(box.x1), top = static_cast<int>(box.y1);
    const int right = static_cast<int>(box.x2), bottom = static_cast<int>(box.y2);
    for (int thick = 0; thick < 2; ++thick) {
      for (int x = left; x <= right; ++x) dot(x, top + thick), dot(x, bottom - thick);
      for (int y = top; y <= bottom; ++y) dot(left + thick, y), dot(right - thick, y);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: %s MODEL IMAGE OUT.png\n", argv[0]), 2;
  int width = 0;
  int height = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(stbi_load(argv[2], &width, &height, nullptr, 3),
                                                         stbi_image_free);
  if (pixels == nullptr) return std::fprintf(stderr, "%s: %s\n", argv[2], stbi_failure_reason()), 8;
  try {
    const deploykit::Model model(argv[1]);
    Canvas canvas{pixels.get(), width, height};
    for (const auto& found : model.predict({pixels.get(), height, width}).detections) {
      std::printf("%.2f %s\n", static_cast<double>(found.score), deploykit::printable(found.name).c_str());
      canvas.draw(found.box);
    }
    return stbi_write_png(argv[3], width, height, 3, pixels.get(), 3 * width) != 0 ? 0 : 1;
  } catch (const deploykit::Error& error) {
    return std::fprintf(stderr, "error: %s\n", error.what()), static_cast<int>(error.code());
  }
}
