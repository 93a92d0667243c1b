// Compiles only where every function stands where src/ort/api/abi.hpp says.

#include <onnxruntime_c_api.h>

#include "ort/api/abi.hpp"

#define DEPLOYKIT_SAME_PLACE(position, name, result, arguments) \
  static_assert(offsetof(OrtApi, name) == (position) * sizeof(void*), #name " stands elsewhere in OrtApi");
DEPLOYKIT_ORT_FUNCTIONS(DEPLOYKIT_SAME_PLACE)
#if ORT_API_VERSION >= 24
DEPLOYKIT_ORT_FUNCTIONS_24(DEPLOYKIT_SAME_PLACE)
#endif

static_assert(static_cast<int>(deploykit::ort::kInvalidProtobuf) == ORT_INVALID_PROTOBUF, "codes differ");
static_assert(static_cast<int>(deploykit::ort::kEpFail) == ORT_EP_FAIL, "codes differ");
static_assert(OrtDeviceAllocator == 0 && OrtMemTypeDefault == 0 && ORT_LOGGING_LEVEL_ERROR == 3, "values differ");
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT == 1 && ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64 == 13, "types differ");

int main() { return 0; }
