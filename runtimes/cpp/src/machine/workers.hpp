// Threads that serve asynchronous calls; started by the first one.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace deploykit {

class Workers {
 public:
  explicit Workers(int count) : count_(count) {}
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  // Serves what was submitted, then stops.
  ~Workers();

  // Tasks must not throw.
  void submit(std::function<void()> task);

 private:
  void serve();

  const int count_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  bool stopping_ = false;
};

}  // namespace deploykit
