#include "deploykit/error.hpp"

#include <utility>

#include "deploykit/printable.hpp"

namespace deploykit {
namespace {

std::string joined(const std::string& problem, const std::string& hint) {
  return hint.empty() ? problem : problem + "\n  " + hint;
}

}  // namespace

// Texts of files and engines in a message are made printable here, so that no message can forget it.
Error::Error(ErrorCode code, std::string problem, std::string hint)
    : std::runtime_error(joined(printable(problem), printable(hint))),
      code_(code),
      problem_(printable(problem)),
      hint_(printable(hint)) {}

Error::Error(const Error&) = default;

// Here, so that the type's identity lives in the library alone.
Error::~Error() = default;

OptionError::OptionError(std::string problem, std::string hint)
    : Error(ErrorCode::option, std::move(problem), std::move(hint)) {}

ModelError::ModelError(std::string problem, std::string hint)
    : Error(ErrorCode::model, std::move(problem), std::move(hint)) {}

DependencyError::DependencyError(std::string problem, std::string hint)
    : Error(ErrorCode::dependency, std::move(problem), std::move(hint)) {}

RuntimeUnavailableError::RuntimeUnavailableError(std::string problem, std::string hint)
    : Error(ErrorCode::runtime_unavailable, std::move(problem), std::move(hint)) {}

InputError::InputError(std::string problem, std::string hint)
    : Error(ErrorCode::input, std::move(problem), std::move(hint)) {}

}  // namespace deploykit
