// The best classes of an image.   example_classify model.onnx photo.jpg
#include <deploykit/deploykit.hpp>
#include <stb_image.h>

#include <cstdio>
#include <memory>

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL IMAGE\n", argv[0]), 2;
  int width = 0;
  int height = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(stbi_load(argv[2], &width, &height, nullptr, 3),
                                                         stbi_image_free);
  if (pixels == nullptr) return std::fprintf(stderr, "%s: %s\n", argv[2], stbi_failure_reason()), 8;
  try {
    const deploykit::Model model(argv[1], deploykit::Options{}.with_threads(2));
    const deploykit::Result result = model.predict({pixels.get(), height, width});
    for (const auto& entry : result.top) {
      std::printf("%6.2f %%  %s\n", 100.0 * static_cast<double>(entry.score),
                  deploykit::printable(entry.name).c_str());
    }
  } catch (const deploykit::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
