// What a session says about its model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "deploykit/tensor.hpp"
#include "ort/api/library.hpp"

namespace deploykit {

std::vector<TensorInfo> session_tensors(const ort::Session* session, bool outputs);
// Nodes per execution provider; empty where ONNX Runtime is too old to tell.
std::map<std::string, std::int64_t> session_nodes(const ort::Session* session);
std::vector<std::string> available_providers();

DType dtype_of(int onnx_type);
int onnx_type_of(DType dtype);
// Type and shape of a value; reuses the vector.
void describe_value(const ort::Value* value, DType& dtype, std::vector<std::int64_t>& shape);

}  // namespace deploykit
