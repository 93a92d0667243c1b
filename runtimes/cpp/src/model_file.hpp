// What a file given as a model is, told by its first bytes before an engine sees it.
#pragma once

#include <string>

namespace deploykit {

// Throws ModelError: the file is missing, cannot be read, or is a folder, a checkpoint or an image.
void check_model_file(const std::string& path, const std::string& device);

}  // namespace deploykit
