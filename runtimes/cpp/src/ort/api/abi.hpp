// The part of ONNX Runtime's C ABI that is used, declared here so that building needs no headers of it.
//
// OrtApi is a table of functions that only ever grows at its end, so a function's position never
// changes; tests/ort_abi_test.cpp compares the positions with the official header where that is installed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deploykit::ort {

struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct RunOptions;
struct IoBinding;
struct Value;
struct MemoryInfo;
struct Allocator;
struct TypeInfo;
struct TensorInfo;
struct CudaOptions;
struct TensorRtOptions;
struct AssignedSubgraph;
struct AssignedNode;

struct ApiBase {
  const void* (*get_api)(std::uint32_t version) noexcept;
  const char* (*get_version_string)() noexcept;
};

// X(position, name, return type, arguments)
#define DEPLOYKIT_ORT_FUNCTIONS(X)                                                                                     \
  X(1, GetErrorCode, int, (const Status*))                                                                             \
  X(2, GetErrorMessage, const char*, (const Status*))                                                                  \
  X(3, CreateEnv, Status*, (int level, const char* name, Env**))                                                       \
  X(7, CreateSession, Status*, (const Env*, const char* path, const SessionOptions*, Session**))                       \
  X(8, CreateSessionFromArray, Status*,                                                                                \
    (const Env*, const void* model, std::size_t bytes, const SessionOptions*, Session**))                              \
  X(9, Run, Status*,                                                                                                   \
    (Session*, const RunOptions*, const char* const* input_names, const Value* const* inputs, std::size_t input_count, \
     const char* const* output_names, std::size_t output_count, Value** outputs))                                      \
  X(10, CreateSessionOptions, Status*, (SessionOptions**))                                                             \
  X(22, SetSessionLogSeverityLevel, Status*, (SessionOptions*, int level))                                             \
  X(24, SetIntraOpNumThreads, Status*, (SessionOptions*, int threads))                                                 \
  X(30, SessionGetInputCount, Status*, (const Session*, std::size_t*))                                                 \
  X(31, SessionGetOutputCount, Status*, (const Session*, std::size_t*))                                                \
  X(33, SessionGetInputTypeInfo, Status*, (const Session*, std::size_t, TypeInfo**))                                   \
  X(34, SessionGetOutputTypeInfo, Status*, (const Session*, std::size_t, TypeInfo**))                                  \
  X(36, SessionGetInputName, Status*, (const Session*, std::size_t, Allocator*, char**))                               \
  X(37, SessionGetOutputName, Status*, (const Session*, std::size_t, Allocator*, char**))                              \
  X(39, CreateRunOptions, Status*, (RunOptions**))                                                                     \
  X(48, CreateTensorAsOrtValue, Status*, (Allocator*, const std::int64_t* shape, std::size_t axes, int type, Value**)) \
  X(49, CreateTensorWithDataAsOrtValue, Status*,                                                                       \
    (const MemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape, std::size_t axes, int type,          \
     Value**))                                                                                                         \
  X(51, GetTensorMutableData, Status*, (Value*, void**))                                                               \
  X(55, CastTypeInfoToTensorInfo, Status*, (const TypeInfo*, const TensorInfo**))                                      \
  X(60, GetTensorElementType, Status*, (const TensorInfo*, int*))                                                      \
  X(61, GetDimensionsCount, Status*, (const TensorInfo*, std::size_t*))                                                \
  X(62, GetDimensions, Status*, (const TensorInfo*, std::int64_t*, std::size_t))                                       \
  X(63, GetSymbolicDimensions, Status*, (const TensorInfo*, const char**, std::size_t))                                \
  X(65, GetTensorTypeAndShape, Status*, (const Value*, TensorInfo**))                                                  \
  X(68, CreateMemoryInfo, Status*, (const char* name, int allocator, int id, int memory, MemoryInfo**))                \
  X(69, CreateCpuMemoryInfo, Status*, (int allocator, int memory, MemoryInfo**))                                       \
  X(76, AllocatorFree, Status*, (Allocator*, void*))                                                                   \
  X(78, GetAllocatorWithDefaultOptions, Status*, (Allocator**))                                                        \
  X(92, ReleaseEnv, void, (Env*))                                                                                      \
  X(93, ReleaseStatus, void, (Status*))                                                                                \
  X(94, ReleaseMemoryInfo, void, (MemoryInfo*))                                                                        \
  X(95, ReleaseSession, void, (Session*))                                                                              \
  X(96, ReleaseValue, void, (Value*))                                                                                  \
  X(97, ReleaseRunOptions, void, (RunOptions*))                                                                        \
  X(98, ReleaseTypeInfo, void, (TypeInfo*))                                                                            \
  X(99, ReleaseTensorTypeAndShapeInfo, void, (TensorInfo*))                                                            \
  X(100, ReleaseSessionOptions, void, (SessionOptions*))                                                               \
  X(125, GetAvailableProviders, Status*, (char*** names, int* count))                                                  \
  X(126, ReleaseAvailableProviders, Status*, (char** names, int count))                                                \
  X(130, AddSessionConfigEntry, Status*, (SessionOptions*, const char* key, const char* value))                        \
  X(131, CreateAllocator, Status*, (const Session*, const MemoryInfo*, Allocator**))                                   \
  X(132, ReleaseAllocator, void, (Allocator*))                                                                         \
  X(133, RunWithBinding, Status*, (Session*, const RunOptions*, const IoBinding*))                                     \
  X(134, CreateIoBinding, Status*, (Session*, IoBinding**))                                                            \
  X(135, ReleaseIoBinding, void, (IoBinding*))                                                                         \
  X(136, BindInput, Status*, (IoBinding*, const char* name, const Value*))                                             \
  X(138, BindOutputToDevice, Status*, (IoBinding*, const char* name, const MemoryInfo*))                               \
  X(140, GetBoundOutputValues, Status*, (const IoBinding*, Allocator*, Value*** values, std::size_t* count))           \
  X(165, AddRunConfigEntry, Status*, (RunOptions*, const char* key, const char* value))                                \
  X(170, SessionOptionsAppendExecutionProvider_TensorRT_V2, Status*, (SessionOptions*, const TensorRtOptions*))        \
  X(171, CreateTensorRTProviderOptions, Status*, (TensorRtOptions**))                                                  \
  X(172, UpdateTensorRTProviderOptions, Status*,                                                                       \
    (TensorRtOptions*, const char* const* keys, const char* const* values, std::size_t count))                         \
  X(174, ReleaseTensorRTProviderOptions, void, (TensorRtOptions*))                                                     \
  X(204, SessionOptionsAppendExecutionProvider_CUDA_V2, Status*, (SessionOptions*, const CudaOptions*))                \
  X(205, CreateCUDAProviderOptions, Status*, (CudaOptions**))                                                          \
  X(206, UpdateCUDAProviderOptions, Status*,                                                                           \
    (CudaOptions*, const char* const* keys, const char* const* values, std::size_t count))                             \
  X(208, ReleaseCUDAProviderOptions, void, (CudaOptions*))

// Which nodes run where: since ONNX Runtime 1.24.
#define DEPLOYKIT_ORT_FUNCTIONS_24(X)                                                         \
  X(407, Session_GetEpGraphAssignmentInfo, Status*,                                           \
    (const Session*, const AssignedSubgraph* const** subgraphs, std::size_t* count))          \
  X(408, EpAssignedSubgraph_GetEpName, Status*, (const AssignedSubgraph*, const char** name)) \
  X(409, EpAssignedSubgraph_GetNodes, Status*,                                                \
    (const AssignedSubgraph*, const AssignedNode* const** nodes, std::size_t* count))

// All other errors are returned too, and a log on the terminal has names as the file has them.
constexpr int kLogFatal = 4;
constexpr std::uint32_t kApiVersion = 11;
constexpr std::uint32_t kPlacementApiVersion = 24;

struct Functions {
#define DEPLOYKIT_ORT_MEMBER(position, name, result, arguments) result(*name) arguments noexcept = nullptr;
  DEPLOYKIT_ORT_FUNCTIONS(DEPLOYKIT_ORT_MEMBER)
  DEPLOYKIT_ORT_FUNCTIONS_24(DEPLOYKIT_ORT_MEMBER)
#undef DEPLOYKIT_ORT_MEMBER
};

// OrtErrorCode
enum StatusCode : int {
  kFail = 1,
  kInvalidArgument = 2,
  kNoSuchFile = 3,
  kNoModel = 4,
  kEngineError = 5,
  kRuntimeException = 6,
  kInvalidProtobuf = 7,
  kModelLoaded = 8,
  kNotImplemented = 9,
  kInvalidGraph = 10,
  kEpFail = 11,
};

}  // namespace deploykit::ort
