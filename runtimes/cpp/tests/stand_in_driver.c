/* Two GPUs of compute capability 8.9, for tests on machines without any; and a TensorRT of 10.16.1. */
#include <string.h>

int cuInit(unsigned flags) { return (int)flags; }

int cuDeviceGetCount(int *count) {
  *count = 2;
  return 0;
}

int cuDeviceGet(int *device, int index) {
  *device = 10 + index;
  return 0;
}

int cuDeviceGetName(char *name, int size, int device) {
  if (size < 16) return 1;
  strcpy(name, device == 11 ? "NVIDIA Test 11" : "NVIDIA Test 10");
  return 0;
}

int cuDriverGetVersion(int *version) {
  *version = 13010;
  return 0;
}

int cuDeviceGetAttribute(int *value, int which, int device) {
  *value = device < 10 ? 0 : which == 75 ? 8 : which == 76 ? 9 : 0;
  return 0;
}

int getInferLibVersion(void) { return 101601; }
