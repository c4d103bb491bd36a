/* One pool of worker threads for the process. */
#pragma once
#include <cstdint>
#include <functional>

namespace nr {
/* Calls task(index, worker) once for every index in [0, count), on up to `threads` threads, the
 * caller's included; indices are claimed in ascending order. worker < threads names the thread. One
 * job runs at a time; a second caller waits. */
void parallel(int64_t count, int threads, const std::function<void(int64_t index, int worker)> &task);

/* Splits [0, n) into blocks of `block` items: task(begin, end, worker). */
inline void parallel_blocks(int64_t n, int64_t block, int threads,
                            const std::function<void(int64_t, int64_t, int)> &task) {
  int64_t blocks = (n + block - 1) / block;
  parallel(blocks, threads, [&](int64_t b, int worker) {
    int64_t begin = b * block, end = begin + block < n ? begin + block : n;
    task(begin, end, worker);
  });
}
} // namespace nr
