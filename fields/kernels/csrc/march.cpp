/* Marching as an operator of its own. */
#include "march.h"

#include "kernels.h"
#include "pool.h"

int nr_march(const float *origins, const float *directions, const float *jitter, int64_t rays, const uint64_t *bits,
             int32_t resolution, int32_t levels, float step, float growth, float near, int64_t *ray_start, float *t,
             int threads) try {
  using namespace nr;
  const Spacing spacing{step, growth, near};
  if (!valid_grid(resolution, levels) || !valid(spacing)) return NR_BAD_ARGUMENT;
  const Occupancy grid(bits, resolution, levels);
  parallel_blocks(rays, MarchingRays::kCapacity, threads, [&](int64_t begin, int64_t end, int) {
    MarchingRays marching;
    int list[MarchingRays::kCapacity];
    int64_t count[MarchingRays::kCapacity] = {};
    for (int64_t r = begin; r < end; r++) {
      marching.start((int)(r - begin), origins + r * 3, directions + r * 3, jitter[r], grid, spacing);
      list[r - begin] = (int)(r - begin);
    }
    auto emit = [&](int ray, float distance) {
      if (t) t[ray_start[begin + ray] + count[ray]] = distance;
      count[ray]++;
      return true;
    };
    marching.advance(grid, spacing, list, (int)(end - begin), emit, [](int) {});
    for (int64_t r = begin; r < end && !t; r++) ray_start[r + 1] = count[r - begin];
  });
  if (!t) {
    ray_start[0] = 0;
    for (int64_t r = 0; r < rays; r++) ray_start[r + 1] += ray_start[r];
  }
  return NR_OK;
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}
