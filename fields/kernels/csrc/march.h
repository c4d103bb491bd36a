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
  int resolution, levels, blocks, coarse_blocks; /* cells; nested grids; words, coarse words a side */
  int level_words, level_coarse;
  std::vector<uint64_t> coarse;

  Occupancy(const uint64_t *bits, int resolution, int levels)
      : words(bits), resolution(resolution), levels(levels), blocks(resolution / 4), coarse_blocks((blocks + 3) / 4),
        level_words(blocks * blocks * blocks), level_coarse(coarse_blocks * coarse_blocks * coarse_blocks),
        coarse((size_t)level_coarse * levels, 0) {
    for (int l = 0; l < levels; l++)
      for (int z = 0; z < blocks; z++)
        for (int y = 0; y < blocks; y++) {
          const uint64_t *row = words + (int64_t)l * level_words + blocks * (y + (int64_t)blocks * z);
          uint64_t *to = coarse.data() + l * level_coarse + coarse_blocks * (y / 4 + coarse_blocks * (z / 4));
          int x = 0;
          for (; x + 4 <= blocks; x += 4) {
            const int any = (row[x] != 0) | (row[x + 1] != 0) << 1 | (row[x + 2] != 0) << 2 | (row[x + 3] != 0) << 3;
            to[x / 4] |= any * inner_bit(0, y, z);
          }
          for (; x < blocks; x++) to[x / 4] |= row[x] ? inner_bit(x, y, z) : 0;
        }
  }
  static uint64_t inner_bit(int x, int y, int z) { return 1ull << ((x & 3) + 4 * (y & 3) + 16 * (z & 3)); }
  bool nested() const { return levels > 1; }
};

inline bool valid_grid(int resolution, int levels) {
  return resolution >= 4 && resolution <= 256 && resolution % 4 == 0 && levels >= 1 && levels <= 10;
}

/* How far apart samples stand: max(step, growth t), from `near` on; the definition is `Spacing` in march.py. */
struct Spacing {
  float step, growth, near;
  bool grows() const { return growth > 0 || near > 0; }
  vfloat place(vfloat t) const {
    if (!(growth > 0)) return t / step;
    const float turn = step / growth;
    return t <= turn ? t / step : (1.0f + vlog(vmax(t, splat(turn)) / turn)) / growth;
  }
  vfloat distance(vfloat place) const {
    if (!(growth > 0)) return place * step;
    return growth * place <= 1.0f ? place * step : step / growth * vexp(growth * place - 1.0f);
  }
  vfloat length(vfloat t) const { return vmax(growth * t, splat(step)); }
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

inline bool valid(const Spacing &s) { return s.step > 1e-5f && s.growth >= 0 && s.growth < 1 && s.near >= 0; }

/* Up to kCapacity rays on their way. In the one cube samples stand at near + (i + jitter) * step, i = 0, 1, ...
 * below far; in nested ones at the distance of place (near + i + jitter), near being a place too. */
struct MarchingRays {
  static constexpr int kCapacity = 128;
  enum Value { kOrigin = 0, kDirection = 3, kInverse = 6, kNear = 9, kFar, kJitter, kValues };
  float value[kValues][kCapacity]; /* origin, direction and 1 / direction an axis each; in cells in the one cube */
  int32_t index[kCapacity];        /* of the next sample to look at */

  void start(int ray, const float *o, const float *d, float jitter, const Occupancy &grid, const Spacing &spacing) {
    const bool spread = grid.nested() || spacing.grows();
    const float cells = spread ? 1.0f : (float)grid.resolution;
    const float half = std::ldexp(0.5f, grid.levels - 1), low = 0.5f - half, high = 0.5f + half;
    float near = spread ? spacing.near : 0.0f, far = INFINITY;
    for (int a = 0; a < 3; a++) {
      const float inverse = std::fabs(d[a]) > 1e-20f ? 1 / d[a] : 1e20f;
      const float t0 = (low - o[a]) * inverse, t1 = (high - o[a]) * inverse;
      near = std::fmax(near, std::fmin(t0, t1));
      far = std::fmin(far, std::fmax(t0, t1));
      value[kOrigin + a][ray] = o[a] * cells;
      value[kDirection + a][ray] = d[a] * cells;
      value[kInverse + a][ray] = inverse / cells;
    }
    if (!(near < far) || !std::isfinite(far)) far = near = 0; /* misses the cube, or not a number */
    value[kNear][ray] = spread ? spacing.place(splat(near))[0] : near;
    value[kFar][ray] = far;
    value[kJitter][ray] = jitter;
    index[ray] = 0;
  }

  /* Advances the rays `list[0..count)`, in lanes that take the next ray as soon as one is done. Every sample
   * in an occupied cell goes to emit(ray, t), in order along its ray, which answers whether the ray should go
   * on; done(ray) follows for those that left the cube. */
  template <class Emit, class Done>
  void advance(const Occupancy &grid, const Spacing &spacing, const int *list, int count, const Emit &emit,
               const Done &done) {
    if (grid.nested() || spacing.grows())
      advance_in<Nested>(Nested(grid, spacing), list, count, emit, done);
    else
      advance_in<Cube>(Cube(grid, spacing.step), list, count, emit, done);
  }

private:
  typedef float Lanes[kValues][kLanes];

  /* The one cube, even steps; positions in cells. */
  struct Cube {
    const Occupancy &grid;
    const float step, inverse_step;
    Cube(const Occupancy &grid, float step) : grid(grid), step(step), inverse_step(1 / step) {}
    vfloat distance(const Lanes &lane, vint i) const {
      return loadf(lane[kNear]) + no_contraction((to_float(i) + loadf(lane[kJitter])) * step);
    }
    vint find(const Lanes &lane, vfloat t, vint (&c)[3]) { /* the cell, and the grid's number */
      for (int a = 0; a < 3; a++) c[a] = truncate(loadf(lane[kOrigin + a]) + t * loadf(lane[kDirection + a]));
      return vint{};
    }
    vfloat leaves(const Lanes &lane, int a, vint face, vint) const {
      return (to_float(face) - loadf(lane[kOrigin + a])) * loadf(lane[kInverse + a]);
    }
    vint index_at(const Lanes &lane, vfloat t) const {
      return truncate((t - loadf(lane[kNear])) * inverse_step - loadf(lane[kJitter]));
    }
  };

  /* Nested cubes, steps that grow; positions in sides of the smallest cube. */
  struct Nested {
    const Occupancy &grid;
    const Spacing &spacing;
    Nested(const Occupancy &grid, const Spacing &spacing) : grid(grid), spacing(spacing) {}
    vfloat distance(const Lanes &lane, vint i) const {
      return spacing.distance(loadf(lane[kNear]) + (to_float(i) + loadf(lane[kJitter])));
    }
    static vfloat power_of_two(vint exponent) { return (vfloat)((exponent + 127) << 23); }
    vint find(const Lanes &lane, vfloat t, vint (&c)[3]) {
      vfloat p[3], reach = splat(1.0f);
      for (int a = 0; a < 3; a++) {
        p[a] = loadf(lane[kOrigin + a]) + t * loadf(lane[kDirection + a]) - 0.5f;
        reach = vmax(reach, 2.0f * vmax(p[a], -p[a]));
      }
      const vint bits = (vint)reach; /* the smallest power of two that is not less */
      vint level = (bits >> 23) - 127 + ((bits & 0x7fffff) != 0 ? isplat(1) : vint{});
      level = level > grid.levels - 1 ? isplat(grid.levels - 1) : level;
      const vfloat scale = power_of_two(-level);
      for (int a = 0; a < 3; a++) c[a] = truncate((p[a] * scale + 0.5f) * (float)grid.resolution);
      return level;
    }
    vfloat leaves(const Lanes &lane, int a, vint face, vint level) const {
      const vfloat at = (to_float(face) / (float)grid.resolution - 0.5f) * power_of_two(level) + 0.5f;
      return (at - loadf(lane[kOrigin + a])) * loadf(lane[kInverse + a]);
    }
    vint index_at(const Lanes &lane, vfloat t) const { /* a little less: place is not exact */
      const vfloat place = spacing.place(vmax(t, splat(1e-20f)));
      return truncate(place - loadf(lane[kNear]) - loadf(lane[kJitter]) - 0.01f);
    }
  };

  template <class Space, class Emit, class Done>
  void advance_in(Space space, const int *list, int count, const Emit &emit, const Done &done) {
    const Occupancy &grid = space.grid;
    alignas(64) Lanes lane;
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
    const vint last = isplat(grid.resolution - 1);
    while (busy > 0) {
      const vint i = load<vint>(at);
      const vfloat t = space.distance(lane, i);
      vint c[3];
      const vint level = space.find(lane, t, c);
      for (int a = 0; a < 3; a++) {
        c[a] = c[a] < 0 ? vint{} : c[a];
        c[a] = c[a] > last ? last : c[a];
      }
      auto number = [](vint x, vint y, vint z, int side) { return x + side * (y + side * z); };
      store(coarse_at, number(c[0] >> 4, c[1] >> 4, c[2] >> 4, grid.coarse_blocks) + level * grid.level_coarse);
      store(coarse_bit, number(c[0] >> 2 & 3, c[1] >> 2 & 3, c[2] >> 2 & 3, 4));
      store(word_at, number(c[0] >> 2, c[1] >> 2, c[2] >> 2, grid.blocks) + level * grid.level_words);
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
        const vfloat leave = space.leaves(lane, a, face, level);
        exit = leave < exit ? leave : exit;
      }
      const vint beyond = space.index_at(lane, exit);
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
