/* Trilinear interpolation in a multiresolution hash grid, sixteen samples at a time. */
#pragma once
#include "kernels.h"
#include "simd.h"

namespace nr {

constexpr int kGroup = 16; /* samples whose corners are computed together */
constexpr int kAhead = 3;  /* groups between the fetching of entries and their use; one less than a power of two */

struct GridLevel {
  float scale;
  uint32_t resolution, size; /* size: entries; a power of two where hashed */
  bool dense;
  int64_t offset; /* of the first entry */
};
inline GridLevel grid_level(const nr_grid &grid, int level) {
  GridLevel l;
  l.scale = grid.scale[level];
  l.resolution = (uint32_t)grid.resolution[level];
  l.size = (uint32_t)(grid.offset[level + 1] - grid.offset[level]);
  l.dense = (uint64_t)l.resolution * l.resolution * l.resolution <= l.size;
  l.offset = grid.offset[level];
  return l;
}
inline bool valid(const nr_grid &g) {
  return g.levels >= 1 && g.levels <= 32 && (g.features == 1 || g.features == 2 || g.features == 4 || g.features == 8);
}

/* The eight corners of the cells of kGroup samples: index within the level, trilinear weight. Bit d
 * of the corner number adds one along axis d. */
struct Corners {
  alignas(64) uint32_t index[8][kGroup];
  alignas(64) float weight[8][kGroup];
};

inline vfloat clamp_unit(vfloat x) { /* NaN stays NaN */
  x = x < 0.0f ? splat(0.0f) : x;
  return x > 1.0f ? splat(1.0f) : x;
}

inline void find_corners(const GridLevel &level, const float *x, const float *y, const float *z, Corners &out) {
  for (int s = 0; s < kGroup; s += kLanes) {
    const vfloat px = loadf(x + s) * level.scale + 0.5f, py = loadf(y + s) * level.scale + 0.5f,
                 pz = loadf(z + s) * level.scale + 0.5f;
    const vint cx = truncate(px), cy = truncate(py), cz = truncate(pz);
    const vfloat fx = px - to_float(cx), fy = py - to_float(cy), fz = pz - to_float(cz);
    const vfloat wx[2] = {1.0f - fx, fx}, wy[2] = {1.0f - fy, fy}, wz[2] = {1.0f - fz, fz};
    const uint32_t py_factor = level.dense ? level.resolution : 2654435761u;
    const uint32_t pz_factor = level.dense ? level.resolution * level.resolution : 805459861u;
    const vuint x0 = (vuint)cx, y0 = (vuint)cy * py_factor, z0 = (vuint)cz * pz_factor;
    const vuint xs[2] = {x0, x0 + 1u}, ys[2] = {y0, y0 + py_factor}, zs[2] = {z0, z0 + pz_factor};
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
      const vuint a = xs[c & 1], b = ys[c >> 1 & 1], d = zs[c >> 2];
      vuint index;
      if (level.dense) {
        index = a + b + d;
        index = index >= level.size ? index - level.size : index; /* the last cell reaches one beyond */
        index = index >= level.size ? usplat(0) : index;          /* NaN points */
      } else {
        index = (a ^ b ^ d) & (level.size - 1);
      }
      store(out.index[c] + s, index);
      storef(out.weight[c] + s, wx[c & 1] * wy[c >> 1 & 1] * wz[c >> 2]);
    }
  }
}

/* ---- entries of F values, stored as float32 or half precision ---- */

typedef uint16_t half_bits;

template <int F> struct Values {
  float v[F];
  void add(float w, const Values &other) {
    for (int f = 0; f < F; f++) v[f] += w * other.v[f];
  }
};
template <> struct Values<4> {
  float4 v;
  void add(float w, const Values &other) { v += w * other.v; }
};
template <int F> inline Values<F> zero_values() {
  Values<F> z;
  std::memset(&z, 0, sizeof z);
  return z;
}
template <int F> inline Values<F> read_values(const float *p) {
  Values<F> v;
  std::memcpy(&v, p, sizeof(float) * F);
  return v;
}
#if defined(__F16C__)
inline float half_value(half_bits h) { return _cvtsh_ss(h); }
inline half_bits to_half(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
template <int F> inline Values<F> read_values(const half_bits *p) {
  if constexpr (F == 4) {
    return {(float4)_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)p))};
  } else {
    Values<F> v;
    for (int f = 0; f < F; f++) v.v[f] = half_value(p[f]);
    return v;
  }
}
#endif

/* Starts fetching all entries of a group, so that they arrive while other groups are worked on; into the second cache,
 * for which more can be under way than for the first (from a cold table: two thirds of the time). */
template <int F, class T> inline void prefetch(const Corners &corners, const T *level_table) {
  for (int c = 0; c < 8; c++)
    for (int s = 0; s < kGroup; s++) __builtin_prefetch(level_table + (size_t)corners.index[c][s] * F, 0, 2);
}

/* Features of kGroup samples at one level: out[s * stride + f]. */
template <int F, class T>
inline void interpolate(const Corners &corners, const T *level_table, float *out, int stride) {
  for (int s = 0; s < kGroup; s++) {
    Values<F> sum = zero_values<F>();
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++)
      sum.add(corners.weight[c][s], read_values<F>(level_table + (size_t)corners.index[c][s] * F));
    std::memcpy(out + (int64_t)s * stride, &sum, sizeof(float) * F);
  }
}

/* Adds the gradient of `count` samples at one level into the level's entries [first, last):
 * grad[s * stride + f]. */
template <int F, bool kWhole>
inline void scatter(const Corners &corners, const float *grad, int stride, int count, float *level_gradient,
                    uint32_t first, uint32_t last) {
  for (int s = 0; s < count; s++) {
    const Values<F> g = read_values<F>(grad + (int64_t)s * stride);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
      const uint32_t index = corners.index[c][s];
      if (!kWhole && (index < first || index >= last)) continue;
      float *p = level_gradient + (size_t)index * F;
      Values<F> sum = read_values<F>(p);
      sum.add(corners.weight[c][s], g);
      std::memcpy(p, &sum, sizeof(float) * F);
    }
  }
}

/* One level is shared out in this many ranges of entries, so that more threads than levels have work. */
inline int shards_per_level(int levels, int threads) {
  int shards = 1;
  while (shards * levels < 4 * threads && shards < 64 && threads > 4) shards *= 2;
  return shards;
}

} // namespace nr
