#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace nr {
namespace {

/* A training step is a chain of short jobs, and waking a thread delays the next one: who waits looks on for
 * a moment before it sleeps. */
constexpr auto kPatience = std::chrono::microseconds(200);

template <class Ready> void watch_for(const Ready &ready) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!ready() && std::chrono::steady_clock::now() < end) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

struct Pool {
  std::mutex job;   /* held for the length of one job */
  std::mutex state; /* guards what follows */
  std::condition_variable wake, done;
  std::vector<std::thread> threads;
  const std::function<void(int64_t, int)> *task = nullptr;
  int64_t count = 0;
  int wanted = 0;
  std::atomic<int> running{0};
  std::atomic<uint64_t> generation{0};
  std::atomic<int64_t> next{0};

  void drain(int worker) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) (*task)(i, worker);
  }
  void serve(int worker, uint64_t seen) {
    for (;;) {
      watch_for([&] { return generation != seen; });
      std::unique_lock<std::mutex> lock(state);
      wake.wait(lock, [&] { return generation != seen; });
      seen = generation;
      if (worker > wanted) continue;
      lock.unlock();
      drain(worker);
      lock.lock();
      if (--running == 0) done.notify_one();
      lock.unlock();
    }
  }
  void run(int64_t n, int workers, const std::function<void(int64_t, int)> &f) {
    std::lock_guard<std::mutex> one_job(job);
    {
      std::lock_guard<std::mutex> lock(state);
      while ((int)threads.size() < workers)
        threads.emplace_back([this, id = (int)threads.size() + 1, seen = generation.load()] { serve(id, seen); });
      task = &f;
      count = n;
      next = 0;
      wanted = running = workers;
      generation++;
    }
    wake.notify_all();
    drain(0);
    watch_for([&] { return running == 0; });
    std::unique_lock<std::mutex> lock(state);
    done.wait(lock, [&] { return running == 0; });
  }
};

/* Never destroyed: its threads may outlive static destructors. A forked child has none of the
 * threads, so it starts with a new pool. */
Pool *pool = new Pool;
const int at_fork = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });

} // namespace

void parallel(int64_t count, int threads, const std::function<void(int64_t, int)> &task) {
  (void)at_fork;
  if (threads > count) threads = (int)count;
  if (threads <= 1) {
    for (int64_t i = 0; i < count; i++) task(i, 0);
    return;
  }
  pool->run(count, threads - 1, task);
}
} // namespace nr
