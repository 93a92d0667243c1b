// What a file given as a model is, recognised by its first bytes before an engine sees it.
#pragma once

#include <cstdint>
#include <string>

namespace deploykit {

// Throws ModelError: the file is missing, cannot be read, or is a folder, a checkpoint or an image.
void check_model_file(const std::string& path, const std::string& device);

// Throws ModelError: a file with weights that the model names is missing, empty or cannot be read. A file
// that is not ONNX at all passes: the engine says so.
void check_files_beside(const std::string& path);

// Bytes of a model with the weights beside it, as far as they are there.
std::uint64_t model_bytes(const std::string& path);

// SHA-256 as 64 hex digits: of the file, or, if the model has several, of their hashes in hex, one a line.
// Throws ModelError: one cannot be read.
std::string hash_model(const std::string& path);

}  // namespace deploykit
