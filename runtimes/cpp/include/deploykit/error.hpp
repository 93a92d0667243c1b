// The error tree: the same classes, codes and texts as in Python.
//
//   Error
//   ├── OptionError               an option is wrong or contradicts another        2
//   ├── ModelError                a model file or its metadata cannot be used      5
//   ├── DependencyError           ONNX Runtime's library is missing                6
//   ├── RuntimeUnavailableError   a device was asked for and cannot run            7
//   └── InputError                an image or tensor does not fit the model        8
#pragma once

#include <stdexcept>
#include <string>

#include "deploykit/config.h"

namespace deploykit {

// Also the exit code of deploykit-run.
enum class ErrorCode : int {
  other = 1,
  option = 2,
  model = 5,
  dependency = 6,
  runtime_unavailable = 7,
  input = 8,
};

// what() is the problem, and the hint on a line of its own; both are printable (printable.hpp).
class DEPLOYKIT_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string problem, std::string hint);
  Error(const Error&);
  ~Error() override;

  ErrorCode code() const noexcept { return code_; }
  // What went wrong, with what was wanted and what was found.
  const std::string& problem() const noexcept { return problem_; }
  // What the user can do about it; may be empty.
  const std::string& hint() const noexcept { return hint_; }

 private:
  ErrorCode code_;
  std::string problem_;
  std::string hint_;
};

class DEPLOYKIT_API OptionError : public Error {
 public:
  explicit OptionError(std::string problem, std::string hint = {});
};

class DEPLOYKIT_API ModelError : public Error {
 public:
  explicit ModelError(std::string problem, std::string hint = {});
};

class DEPLOYKIT_API DependencyError : public Error {
 public:
  explicit DependencyError(std::string problem, std::string hint = {});
};

class DEPLOYKIT_API RuntimeUnavailableError : public Error {
 public:
  explicit RuntimeUnavailableError(std::string problem, std::string hint = {});
};

class DEPLOYKIT_API InputError : public Error {
 public:
  explicit InputError(std::string problem, std::string hint = {});
};

}  // namespace deploykit
