// Which shared libraries a shared library needs, and whether this process can load them.
//
// Read from the dynamic section of the file, because every release of an engine links other versions of
// CUDA, cuDNN and TensorRT, and a loader's own message names only the first one that is missing.
// The format: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html
#pragma once

#include <string>
#include <vector>

namespace deploykit {

// The DT_NEEDED names of a 64-bit file of this machine's byte order; none of any other file.
std::vector<std::string> needed_libraries(const std::string& path);
// Where NVIDIA's wheels that stand beside the wheel of ONNX Runtime hold a library; empty: nowhere.
std::string find_in_wheels(const std::string& ort_folder, const std::string& library);
// Loads what a library of ONNX Runtime's folder needs, and names what is nowhere.
std::vector<std::string> missing_libraries(const std::string& ort_folder, const std::string& library);

}  // namespace deploykit
