/* The sample at the top of deploykit.h, as a C program.   c_usage_test MODEL */
#include <deploykit/deploykit.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  const int64_t height = 48, width = 64;
  uint8_t *pixels = calloc((size_t)(3 * height * width), 1);
  deploykit_image image = {sizeof image, pixels, height, width, 3, DEPLOYKIT_RGB, 0};
  deploykit_model *model = NULL;
  deploykit_results *results = NULL;
  deploykit_error *error;
  int code = 0;

  if (argc != 2 || !pixels) return 2;
  error = deploykit_model_open(argv[1], NULL, &model);
  if (!error) error = deploykit_predict(model, &image, 1, NULL, &results);
  if (error) {
    fprintf(stderr, "%s\n", deploykit_error_message(error));
    code = deploykit_error_code(error) == DEPLOYKIT_DEPENDENCY ? 77 : 1;
    deploykit_error_free(error);
  } else {
    deploykit_detection found;
    for (size_t i = 0; i < deploykit_detection_count(results, 0); ++i) {
      deploykit_detection_get(results, 0, i, &found);
      printf("%s %.2f\n", found.name, found.score);
    }
  }
  deploykit_results_free(results);
  deploykit_model_close(model);
  free(pixels);
  return code;
}
