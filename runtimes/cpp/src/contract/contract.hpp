// A model's spec, with a name for every class id that a graph can give.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "deploykit/spec.hpp"

namespace deploykit {

struct Contract {
  Spec spec;

  // "class 17" where no name is known. Valid as long as the contract lives.
  std::string_view class_name(std::int64_t class_id) const {
    if (class_id >= 0 && class_id < static_cast<std::int64_t>(spec.classes.size())) {
      return spec.classes[static_cast<std::size_t>(class_id)];
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = made_up_.find(class_id);
    if (found != made_up_.end()) return found->second;
    return made_up_.emplace(class_id, "class " + std::to_string(class_id)).first->second;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, std::string> made_up_;
};

}  // namespace deploykit
