/* Marching a ray through the occupied cells of the unit cube. */
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

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

  /* Side in cells of the largest known empty block around a cell: 16, 4, 1, or 0 where it is occupied. */
  int empty_side(int x, int y, int z) const {
    const uint64_t block = coarse[x / 16 + coarse_blocks * (y / 16 + coarse_blocks * (z / 16))];
    if (block == 0) return 16;
    if (!(block & inner_bit(x / 4, y / 4, z / 4))) return 4;
    const uint64_t word = words[x / 4 + blocks * (y / 4 + (int64_t)blocks * (z / 4))];
    return word & inner_bit(x, y, z) ? 0 : 1;
  }
};

inline float no_contraction(float x) { /* keeps the product from joining the sum in one FMA */
#if defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

/* Samples stand at near + (i + jitter) * step, i = 0, 1, ... below far. */
struct RayMarcher {
  float origin[3], direction[3], inverse[3];
  float near, far, jitter, step;
  int64_t next_index;

  void start(const float *o, const float *d, float jitter_, float step_) {
    near = 0, far = INFINITY;
    for (int a = 0; a < 3; a++) {
      origin[a] = o[a];
      direction[a] = d[a];
      inverse[a] = std::fabs(d[a]) > 1e-20f ? 1 / d[a] : 1e20f;
      const float t0 = -o[a] * inverse[a], t1 = (1 - o[a]) * inverse[a];
      near = std::fmax(near, std::fmin(t0, t1));
      far = std::fmin(far, std::fmax(t0, t1));
    }
    jitter = jitter_;
    step = step_;
    next_index = 0;
    if (!(near < far) || !std::isfinite(far)) far = near = 0; /* misses the cube, or not a number */
  }
  float distance(int64_t i) const { return near + no_contraction(((float)i + jitter) * step); }
  bool finished() const { return !(distance(next_index) < far); }

  /* Distance of the next sample in an occupied cell, or -1 at the end of the ray. */
  float next(const Occupancy &grid) {
    const float r = (float)grid.resolution, cell = 1 / r;
    for (;;) {
      const float t = distance(next_index);
      if (!(t < far)) return -1;
      int c[3];
      for (int a = 0; a < 3; a++) {
        const int i = (int)((origin[a] + t * direction[a]) * r);
        c[a] = i < 0 ? 0 : i >= grid.resolution ? grid.resolution - 1 : i;
      }
      const int side = grid.empty_side(c[0], c[1], c[2]);
      next_index++;
      if (side == 0) return t;
      if (side == 1) continue;
      float exit = INFINITY;
      for (int a = 0; a < 3; a++) {
        const int face = (c[a] / side + (direction[a] >= 0)) * side;
        exit = std::fmin(exit, ((float)face * cell - origin[a]) * inverse[a]);
      }
      /* Rounded down: at worst one sample of the empty block is looked at again. */
      const int64_t beyond = (int64_t)((exit - near) / step - jitter);
      if (beyond > next_index) next_index = beyond;
    }
  }
};

} // namespace nr
