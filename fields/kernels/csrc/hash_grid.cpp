/* The hash grid as an operator of its own. */
#include "hash_grid.h"

#include <vector>

#include "memory.h"
#include "pool.h"

namespace nr {
namespace {

constexpr int64_t kSamples = 4096; /* that a task handles level by level */

struct Points { /* sixteen points, one array an axis, clamped */
  alignas(64) float axis[3][kGroup];
  void read(const float *points, int64_t count) {
    for (int s = 0; s < kGroup; s++)
      for (int d = 0; d < 3; d++) axis[d][s] = s < count ? points[s * 3 + d] : 0.5f;
    for (auto &a : axis)
      for (int s = 0; s < kGroup; s += kLanes) storef(a + s, clamp_unit(loadf(a + s)));
  }
};

template <int F>
void forward(const nr_grid &grid, const float *points, const float *table, int64_t n, float *out, int threads) {
  const int width = grid.levels * F;
  parallel_blocks(n, kSamples, threads, [&](int64_t begin, int64_t end, int) {
    Corners corners;
    Points p;
    alignas(64) float values[kGroup * F];
    for (int l = 0; l < grid.levels; l++) {
      const GridLevel level = grid_level(grid, l);
      const float *level_table = table + level.offset * F;
      for (int64_t i = begin; i < end; i += kGroup) {
        const int64_t count = end - i < kGroup ? end - i : kGroup;
        p.read(points + i * 3, count);
        find_corners(level, p.axis[0], p.axis[1], p.axis[2], corners);
        interpolate<F>(corners, level_table, values, F);
        for (int64_t s = 0; s < count; s++) std::memcpy(out + (i + s) * width + l * F, values + s * F, sizeof(float) * F);
      }
    }
  });
}

template <int F>
void backward_table(const nr_grid &grid, const float *points, const float *grad_out, int64_t n, float *grad_table,
                    int threads) {
  const int width = grid.levels * F, shards = shards_per_level(grid.levels, threads);
  parallel((int64_t)grid.levels * shards, threads, [&](int64_t task, int) {
    const GridLevel level = grid_level(grid, (int)(task / shards));
    const int64_t shard = task % shards;
    const uint32_t first = (uint32_t)(level.size * shard / shards), last = (uint32_t)(level.size * (shard + 1) / shards);
    float *level_gradient = grad_table + level.offset * F;
    std::memset(level_gradient + (size_t)first * F, 0, sizeof(float) * F * (last - first));
    Corners corners;
    Points p;
    for (int64_t i = 0; i < n; i += kGroup) {
      const int count = (int)(n - i < kGroup ? n - i : kGroup);
      p.read(points + i * 3, count);
      find_corners(level, p.axis[0], p.axis[1], p.axis[2], corners);
      const float *grad = grad_out + i * width + task / shards * F;
      if (shards == 1)
        scatter<F, true>(corners, grad, width, count, level_gradient, first, last);
      else
        scatter<F, false>(corners, grad, width, count, level_gradient, first, last);
    }
  });
}

/* The weight of a corner is a product over the axes; its derivative along one replaces that factor by
 * +-scale. */
template <int F>
void backward_points(const nr_grid &grid, const float *points, const float *table, const float *grad_out, int64_t n,
                     float *grad_points, int threads) {
  const int width = grid.levels * F;
  parallel_blocks(n, kSamples, threads, [&](int64_t begin, int64_t end, int) {
    Corners corners;
    Points p;
    for (int64_t i = begin; i < end; i += kGroup) {
      const int64_t count = end - i < kGroup ? end - i : kGroup;
      p.read(points + i * 3, count);
      float sum[kGroup][3] = {};
      for (int l = 0; l < grid.levels; l++) {
        const GridLevel level = grid_level(grid, l);
        find_corners(level, p.axis[0], p.axis[1], p.axis[2], corners);
        for (int64_t s = 0; s < count; s++) {
          float fraction[3];
          for (int d = 0; d < 3; d++) {
            const float position = p.axis[d][s] * level.scale + 0.5f;
            fraction[d] = position - (float)(int32_t)position;
          }
          for (int c = 0; c < 8; c++) {
            const float *entry = table + (level.offset + corners.index[c][s]) * F;
            float along = 0;
            for (int f = 0; f < F; f++) along += entry[f] * grad_out[(i + s) * width + l * F + f];
            float w[3], sign[3];
            for (int d = 0; d < 3; d++) {
              w[d] = c >> d & 1 ? fraction[d] : 1 - fraction[d];
              sign[d] = c >> d & 1 ? level.scale : -level.scale;
            }
            sum[s][0] += along * sign[0] * w[1] * w[2];
            sum[s][1] += along * w[0] * sign[1] * w[2];
            sum[s][2] += along * w[0] * w[1] * sign[2];
          }
        }
      }
      for (int64_t s = 0; s < count; s++)
        for (int d = 0; d < 3; d++) {
          const float x = points[(i + s) * 3 + d];
          grad_points[(i + s) * 3 + d] = x < 0 || x > 1 ? 0.0f : sum[s][d];
        }
    }
  });
}

} // namespace
} // namespace nr

int nr_hash_grid_forward(const nr_grid *grid, const float *points, const float *table, int64_t n, float *out,
                         int threads) {
  if (!nr::valid(*grid)) return NR_BAD_ARGUMENT;
  switch (grid->features) {
  case 1: nr::forward<1>(*grid, points, table, n, out, threads); break;
  case 2: nr::forward<2>(*grid, points, table, n, out, threads); break;
  case 4: nr::forward<4>(*grid, points, table, n, out, threads); break;
  default: nr::forward<8>(*grid, points, table, n, out, threads);
  }
  return NR_OK;
}

namespace nr {
template <int F>
static void backward(const nr_grid &grid, const float *points, const float *table, const float *grad_out, int64_t n,
                     float *grad_table, float *grad_points, int threads) {
  if (grad_table) backward_table<F>(grid, points, grad_out, n, grad_table, threads);
  if (grad_points) backward_points<F>(grid, points, table, grad_out, n, grad_points, threads);
}
} // namespace nr

int nr_hash_grid_backward(const nr_grid *grid, const float *points, const float *table, const float *grad_out,
                          int64_t n, float *grad_table, float *grad_points, int threads) {
  if (!nr::valid(*grid)) return NR_BAD_ARGUMENT;
  switch (grid->features) {
  case 1: nr::backward<1>(*grid, points, table, grad_out, n, grad_table, grad_points, threads); break;
  case 2: nr::backward<2>(*grid, points, table, grad_out, n, grad_table, grad_points, threads); break;
  case 4: nr::backward<4>(*grid, points, table, grad_out, n, grad_table, grad_points, threads); break;
  default: nr::backward<8>(*grid, points, table, grad_out, n, grad_table, grad_points, threads);
  }
  return NR_OK;
}
