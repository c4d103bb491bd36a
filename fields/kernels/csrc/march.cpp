/* Marching as an operator of its own. */
#include "march.h"

#include "kernels.h"
#include "pool.h"

int nr_march(const float *origins, const float *directions, const float *jitter, int64_t rays, const uint64_t *bits,
             int32_t resolution, float step, int64_t *ray_start, float *t, int threads) {
  using namespace nr;
  if (resolution < 4 || resolution > 256 || resolution % 4 || !(step > 1e-5f)) return NR_BAD_ARGUMENT;
  const Occupancy grid(bits, resolution);
  parallel_blocks(rays, 256, threads, [&](int64_t begin, int64_t end, int) {
    RayMarcher ray;
    for (int64_t r = begin; r < end; r++) {
      ray.start(origins + r * 3, directions + r * 3, jitter[r], step);
      if (t) {
        for (int64_t i = ray_start[r]; i < ray_start[r + 1]; i++) t[i] = ray.next(grid);
      } else {
        int64_t count = 0;
        while (ray.next(grid) >= 0) count++;
        ray_start[r + 1] = count;
      }
    }
  });
  if (!t) {
    ray_start[0] = 0;
    for (int64_t r = 0; r < rays; r++) ray_start[r + 1] += ray_start[r];
  }
  return NR_OK;
}
