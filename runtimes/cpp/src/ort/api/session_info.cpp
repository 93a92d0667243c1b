#include "ort/api/session_info.hpp"

#include <array>

#include "deploykit/error.hpp"

namespace deploykit {
namespace {

// Text that ONNX Runtime's allocator owns.
std::string take(char* text) {
  std::string copy = text == nullptr ? "" : text;
  if (text != nullptr) {
    const ort::Library& ort = ort::library();
    ort::check(ort.functions.AllocatorFree(ort.allocator, text));
  }
  return copy;
}

struct TypeName {
  DType dtype;
  int onnx;
  const char* name;
  std::size_t size;
};

constexpr std::array<TypeName, 12> kTypes{{{DType::float32, 1, "float32", 4},
                                           {DType::uint8, 2, "uint8", 1},
                                           {DType::int8, 3, "int8", 1},
                                           {DType::uint16, 4, "uint16", 2},
                                           {DType::int16, 5, "int16", 2},
                                           {DType::int32, 6, "int32", 4},
                                           {DType::int64, 7, "int64", 8},
                                           {DType::boolean, 9, "bool", 1},
                                           {DType::float16, 10, "float16", 2},
                                           {DType::float64, 11, "float64", 8},
                                           {DType::uint32, 12, "uint32", 4},
                                           {DType::uint64, 13, "uint64", 8}}};

void read_shape(const ort::TensorInfo* type, TensorInfo& info) {
  const ort::Functions& f = ort::library().functions;
  int onnx_type = 0;
  ort::check(f.GetTensorElementType(type, &onnx_type));
  info.dtype = dtype_of(onnx_type);
  info.dtype_name = info.dtype == DType::other ? "type " + std::to_string(onnx_type) : to_string(info.dtype);
  std::size_t axes = 0;
  ort::check(f.GetDimensionsCount(type, &axes));
  info.shape.resize(axes);
  ort::check(f.GetDimensions(type, info.shape.data(), axes));
  std::vector<const char*> names(axes, nullptr);
  ort::check(f.GetSymbolicDimensions(type, names.data(), axes));
  for (const char* name : names) info.axes.emplace_back(name == nullptr ? "" : name);
}

}  // namespace

DType dtype_of(int onnx_type) {
  for (const TypeName& type : kTypes) {
    if (type.onnx == onnx_type) return type.dtype;
  }
  return DType::other;
}

int onnx_type_of(DType dtype) {
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype) return type.onnx;
  }
  return 0;
}

const char* to_string(DType dtype) {
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype) return type.name;
  }
  return "other";
}

std::size_t size_of(DType dtype) {
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype) return type.size;
  }
  return 0;
}

std::string to_string(const TensorInfo& info) {
  std::string text = info.name + " " + info.dtype_name + " [";
  for (std::size_t axis = 0; axis < info.shape.size(); ++axis) {
    if (axis > 0) text += ", ";
    if (info.shape[axis] >= 0) {
      text += std::to_string(info.shape[axis]);
    } else {
      text += info.axes[axis].empty() ? "?" : info.axes[axis];
    }
  }
  return text + "]";
}

std::vector<TensorInfo> session_tensors(const ort::Session* session, bool outputs) {
  const ort::Library& ort = ort::library();
  const ort::Functions& f = ort.functions;
  std::size_t count = 0;
  ort::check(outputs ? f.SessionGetOutputCount(session, &count) : f.SessionGetInputCount(session, &count));
  std::vector<TensorInfo> found;
  for (std::size_t i = 0; i < count; ++i) {
    TensorInfo info;
    char* name = nullptr;
    ort::check(outputs ? f.SessionGetOutputName(session, i, ort.allocator, &name)
                       : f.SessionGetInputName(session, i, ort.allocator, &name));
    info.name = take(name);
    ort::TypeInfo* raw = nullptr;
    ort::check(outputs ? f.SessionGetOutputTypeInfo(session, i, &raw) : f.SessionGetInputTypeInfo(session, i, &raw));
    const ort::OwnedTypeInfo type(raw);
    const ort::TensorInfo* tensor = nullptr;
    ort::check(f.CastTypeInfoToTensorInfo(type.get(), &tensor));
    // Sequences and maps have no shape.
    if (tensor != nullptr) {
      read_shape(tensor, info);
    } else {
      info.dtype_name = "not a tensor";
    }
    found.push_back(std::move(info));
  }
  return found;
}

std::map<std::string, std::int64_t> session_nodes(const ort::Session* session) {
  const ort::Functions& f = ort::library().functions;
  std::map<std::string, std::int64_t> counts;
  if (f.Session_GetEpGraphAssignmentInfo == nullptr) return counts;
  const ort::AssignedSubgraph* const* subgraphs = nullptr;
  std::size_t count = 0;
  ort::check(f.Session_GetEpGraphAssignmentInfo(session, &subgraphs, &count));
  for (std::size_t i = 0; i < count; ++i) {
    const char* provider = nullptr;
    const ort::AssignedNode* const* nodes = nullptr;
    std::size_t node_count = 0;
    ort::check(f.EpAssignedSubgraph_GetEpName(subgraphs[i], &provider));
    ort::check(f.EpAssignedSubgraph_GetNodes(subgraphs[i], &nodes, &node_count));
    counts[provider] += static_cast<std::int64_t>(node_count);
  }
  return counts;
}

std::vector<std::string> available_providers() {
  const ort::Functions& f = ort::library().functions;
  char** names = nullptr;
  int count = 0;
  ort::check(f.GetAvailableProviders(&names, &count));
  std::vector<std::string> found(names, names + count);
  ort::check(f.ReleaseAvailableProviders(names, count));
  return found;
}

void describe_value(const ort::Value* value, DType& dtype, std::vector<std::int64_t>& shape) {
  const ort::Functions& f = ort::library().functions;
  ort::TensorInfo* raw = nullptr;
  ort::check(f.GetTensorTypeAndShape(value, &raw));
  const ort::OwnedTensorInfo type(raw);
  int onnx_type = 0;
  ort::check(f.GetTensorElementType(type.get(), &onnx_type));
  dtype = dtype_of(onnx_type);
  std::size_t axes = 0;
  ort::check(f.GetDimensionsCount(type.get(), &axes));
  shape.resize(axes);
  ort::check(f.GetDimensions(type.get(), shape.data(), axes));
}

}  // namespace deploykit
