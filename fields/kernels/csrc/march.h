/* Marching a ray through the occupied cells of the unit cube. */
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "simd.h"

namespace nr {

/* Occupancy bits in words of 4x4x4 cells, and above them one bit a word, again in words of 4x4x4:
 * whole empty blocks of 16 or 4 cells a side are stepped over with one look. */
struct Occupancy {
  const uint64_t *words;
  int resolution, blocks, coarse_blocks; /* cells, words, coarse words a side */
  std::vector<uint64_t> coarse;

  Occupancy(const uint64_t *bits, int resolution)
      : words(bits), resolution(resolution), blocks(resolution / 4), coarse_blocks((blocks + 3) / 4),
        coarse((size_t)coarse_blocks * coarse_blocks * coarse_blocks, 0) {
    for (int z = 0; z < blocks; z++)
      for (int y = 0; y < blocks; y++)
        for (int x = 0; x < blocks; x++)
          if (words[x + blocks * (y + (int64_t)blocks * z)])
            coarse[x / 4 + coarse_blocks * (y / 4 + coarse_blocks * (z / 4))] |= inner_bit(x, y, z);
  }
  static uint64_t inner_bit(int x, int y, int z) { return 1ull << ((x & 3) + 4 * (y & 3) + 16 * (z & 3)); }

};

inline vfloat no_contraction(vfloat x) { /* keeps a product from joining a sum in one FMA */
#if defined(__AVX512F__)
  __asm__("" : "+v"(x));
#elif defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

/* Up to kCapacity rays on their way. Samples stand at near + (i + jitter) * step, i = 0, 1, ... below far. */
struct MarchingRays {
  static constexpr int kCapacity = 128;
  enum Value { kOrigin = 0, kDirection = 3, kInverse = 6, kNear = 9, kFar, kJitter, kValues };
  float value[kValues][kCapacity]; /* origin, direction and 1 / direction in cells, an axis each */
  int32_t index[kCapacity];        /* of the next sample to look at */

  void start(int ray, const float *o, const float *d, float jitter, int resolution) {
    float near = 0, far = INFINITY;
    for (int a = 0; a < 3; a++) {
      const float inverse = std::fabs(d[a]) > 1e-20f ? 1 / d[a] : 1e20f;
      const float t0 = -o[a] * inverse, t1 = (1 - o[a]) * inverse;
      near = std::fmax(near, std::fmin(t0, t1));
      far = std::fmin(far, std::fmax(t0, t1));
      value[kOrigin + a][ray] = o[a] * (float)resolution;
      value[kDirection + a][ray] = d[a] * (float)resolution;
      value[kInverse + a][ray] = inverse / (float)resolution;
    }
    if (!(near < far) || !std::isfinite(far)) far = near = 0; /* misses the cube, or not a number */
    value[kNear][ray] = near;
    value[kFar][ray] = far;
    value[kJitter][ray] = jitter;
    index[ray] = 0;
  }

  /* Advances the rays `list[0..count)`, in lanes that take the next ray as soon as one is done. Every sample
   * in an occupied cell goes to emit(ray, t), in order along its ray, which answers whether the ray should go
   * on; done(ray) follows for those that left the cube. */
  template <class Emit, class Done>
  void advance(const Occupancy &grid, float step, const int *list, int count, const Emit &emit, const Done &done) {
    alignas(64) float lane[kValues][kLanes];
    alignas(64) int32_t at[kLanes], empty[kLanes], coarse_at[kLanes], coarse_bit[kLanes], word_at[kLanes], bit[kLanes];
    alignas(64) float distance[kLanes];
    int ray[kLanes], taken = 0, busy = 0;
    auto take = [&](int l) {
      ray[l] = taken < count ? list[taken++] : -1;
      if (ray[l] < 0) { /* an idle lane stands where a ray that has ended does */
        for (auto &v : lane) v[l] = 0;
        at[l] = 0;
        return;
      }
      for (int v = 0; v < kValues; v++) lane[v][l] = value[v][ray[l]];
      at[l] = index[ray[l]];
      busy++;
    };
    for (int l = 0; l < kLanes; l++) take(l);
    const float inverse_step = 1 / step;
    const vint last = isplat(grid.resolution - 1);
    while (busy > 0) {
      const vint i = load<vint>(at);
      const vfloat near = loadf(lane[kNear]), jitter = loadf(lane[kJitter]);
      const vfloat t = near + no_contraction((to_float(i) + jitter) * step);
      vint c[3];
      for (int a = 0; a < 3; a++) {
        c[a] = truncate(loadf(lane[kOrigin + a]) + t * loadf(lane[kDirection + a]));
        c[a] = c[a] < 0 ? vint{} : c[a];
        c[a] = c[a] > last ? last : c[a];
      }
      auto number = [](vint x, vint y, vint z, int side) { return x + side * (y + side * z); };
      store(coarse_at, number(c[0] >> 4, c[1] >> 4, c[2] >> 4, grid.coarse_blocks));
      store(coarse_bit, number(c[0] >> 2 & 3, c[1] >> 2 & 3, c[2] >> 2 & 3, 4));
      store(word_at, number(c[0] >> 2, c[1] >> 2, c[2] >> 2, grid.blocks));
      store(bit, number(c[0] & 3, c[1] & 3, c[2] & 3, 4));
      for (int l = 0; l < kLanes; l++) { /* log2 of the side of the empty block, or -1 in an occupied cell */
        const uint64_t block = grid.coarse[coarse_at[l]], word = grid.words[word_at[l]];
        const int fine = word >> bit[l] & 1 ? -1 : 0, middle = block >> coarse_bit[l] & 1 ? fine : 2;
        empty[l] = block ? middle : 4;
      }
      const vint size = load<vint>(empty), shift = size < 0 ? vint{} : size;
      /* Where the ray leaves its empty block. Rounded down: at worst one sample is looked at again. */
      vfloat exit = splat(INFINITY);
      for (int a = 0; a < 3; a++) {
        const vint ahead = loadf(lane[kDirection + a]) >= 0.0f ? isplat(1) : vint{};
        const vint face = ((c[a] >> shift) + ahead) << shift;
        const vfloat leave = (to_float(face) - loadf(lane[kOrigin + a])) * loadf(lane[kInverse + a]);
        exit = leave < exit ? leave : exit;
      }
      const vint beyond = truncate((exit - near) * inverse_step - jitter);
      vint next = i + 1;
      next = ((size >= 0) & (beyond > next)) ? beyond : next;
      store(at, next);
      storef(distance, t);
      for (int l = 0; l < kLanes; l++) {
        if (ray[l] < 0) continue;
        const bool ended = !(distance[l] < lane[kFar][l]);
        if (!ended && (empty[l] >= 0 || emit(ray[l], distance[l]))) continue;
        index[ray[l]] = at[l];
        if (ended) done(ray[l]);
        busy--;
        take(l);
      }
    }
  }
};

} // namespace nr
