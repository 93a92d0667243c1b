#include <deploykit/deploykit.h>
#include <deploykit/deploykit.hpp>

#include <iostream>
#include <vector>

int count_errors();

int main(int, char** argv) {
#if __cplusplus >= 202002L
  const deploykit::Model model(argv[1], {.device = "cpu", .threads = 1});
#else
  const deploykit::Model model(argv[1], deploykit::Options{}.with_device("cpu").with_threads(1));
#endif
  const std::vector<std::uint8_t> pixels(60 * 80 * 3);
  const deploykit::Result result = model.predict({pixels.data(), 60, 80});
  std::cout << result.top.at(0).name << "\n";
  if (count_errors() == 1) std::cout << "done\n";
}
