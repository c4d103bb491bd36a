/* The instant-ngp field on chunks of samples: encoding and networks over panels. */
#pragma once
#include <chrono>
#include <type_traits>

#include "hash_grid.h"
#include "march.h"
#include "network.h"
#include "spherical_harmonics.h"

namespace nr {

enum Stage { kRays, kMarch, kEncode, kDensity, kSelect, kColor, kComposite, kBackward, kScatter, kAdam, kStages };

/* Thread seconds by stage; off costs a branch. */
struct Stopwatch {
  bool on = false;
  double seconds[kStages] = {};
  std::chrono::steady_clock::time_point last;
  void start() {
    if (on) last = std::chrono::steady_clock::now();
  }
  void lap(Stage stage) {
    if (!on) return;
    auto now = std::chrono::steady_clock::now();
    seconds[stage] += std::chrono::duration<double>(now - last).count();
    last = now;
  }
};

/* Numbers of a mode: panels and table. */
struct Full {
  typedef Float32 P;
  typedef float table;
  static const float *read(const nr_ngp &f) { return f.table; }
};
#if NR_BF16
struct Half {
  typedef BFloat16 P;
  typedef half_bits table;
  static const half_bits *read(const nr_ngp &f) { return f.table_half; }
};
#endif

constexpr int kDensityOutputs = 16, kHarmonics = 16, kColorRows = 4; /* of 3 colours, padded to 4 */

template <class Mode> struct NgpNetworks {
  typedef typename Mode::P P;
  typedef typename P::word word;
  int encoding; /* features, padded to 32 */
  Network<P> density, color;

  explicit NgpNetworks(const nr_ngp &f)
      : encoding(round_up(f.grid.levels * f.grid.features, 32)),
        density(nr_mlp{round_up(f.grid.levels * f.grid.features, 16), f.density_width, f.density_hidden_layers,
                       kDensityOutputs},
                kDensityOutputs),
        color(nr_mlp{kDensityOutputs + kHarmonics, f.color_width, f.color_hidden_layers, 16}, kColorRows) {
    density.pack_weights(f.density_weights);
    color.pack_weights(f.color_weights);
  }
  int encoding_words() const { return encoding / P::per_word * kChunk; }
};

inline void rows_to_panel_block(const float *rows, int stride, float *panel) {
  transpose_block(rows, stride, panel, kChunk);
}
#if NR_BF16
inline void rows_to_panel_pairs(const float *rows, int stride, uint32_t *panel) { /* 16 samples, 32 features */
  alignas(64) uint32_t words[16 * 16];
#pragma GCC unroll 4
  for (int s = 0; s < 16; s++)
    _mm512_store_si512(words + s * 16, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(rows + s * stride + 16),
                                                                   _mm512_loadu_ps(rows + s * stride)));
  transpose_block(words, 16, panel, kChunk);
}
#endif

/* run(integral_constant<features of a level>): what reads or writes entries is compiled for each number, the rest
 * once. `valid` has made sure that it is one of these. */
template <class Run> inline void with_features(const nr_grid &grid, const Run &run) {
  if (grid.features == 2) return run(std::integral_constant<int, 2>());
  if (grid.features == 4) return run(std::integral_constant<int, 4>());
  run(std::integral_constant<int, 8>());
}

/* Encodes columns [0, columns) of a chunk (columns a multiple of kGroup) into a panel. */
template <class Mode> struct Encoder {
  typedef typename Mode::P P;
  Buffer<float> rows; /* [kChunk][features] */

  void operator()(const nr_ngp &field, int padded, const float *x, const float *y, const float *z, int columns,
                  typename P::word *panel) {
    if (rows.size() == 0) rows.zeroed((size_t)kChunk * padded);
    with_features(field.grid, [&](auto features) { fill_rows<features.value>(field, padded, x, y, z, columns); });
    for (int s = 0; s < columns; s += 16) {
      if constexpr (P::per_word == 1) {
        for (int k = 0; k < padded; k += 16) rows_to_panel_block(rows.data() + s * padded + k, padded, panel + k * kChunk + s);
      } else {
#if NR_BF16
        for (int k = 0; k < padded; k += 32)
          rows_to_panel_pairs(rows.data() + s * padded + k, padded, panel + k / 2 * kChunk + s);
#endif
      }
    }
  }

private:
  template <int F>
  void fill_rows(const nr_ngp &field, int padded, const float *x, const float *y, const float *z, int columns) {
    Corners corners[kAhead + 1];
    for (int l = 0; l < field.grid.levels; l++) {
      const GridLevel level = grid_level(field.grid, l);
      const auto *table = Mode::read(field) + level.offset * F;
      for (int s = 0; s < columns + kAhead * kGroup; s += kGroup) {
        if (s < columns) {
          Corners &coming = corners[s / kGroup % (kAhead + 1)];
          find_corners(level, x + s, y + s, z + s, coming);
          if (!level.dense) prefetch<F>(coming, table);
        }
        const int now = s - kAhead * kGroup;
        if (now >= 0)
          interpolate<F>(corners[now / kGroup % (kAhead + 1)], table, rows.data() + now * padded + l * F, padded);
      }
    }
  }
};

/* Truncated exponential of x = raw - shift: exp(min(x, 15)); its gradient exp(clamp(x, -15, 15)). */
inline vfloat density_activation(vfloat raw, float shift) { return vexp(vmin(raw - shift, splat(15.0f))); }
inline vfloat density_gradient(vfloat raw, float shift) {
  return vexp(vmax(vmin(raw - shift, splat(15.0f)), splat(-15.0f)));
}

inline bool valid(const nr_ngp &f) {
  auto fits = [](int width, int layers) { return width >= 16 && width <= 128 && width % 16 == 0 && layers >= 1 && layers <= 8; };
  return valid(f.grid) && f.grid.features >= 2 && f.grid.levels * f.grid.features <= 64 && f.box_side > 0 &&
         fits(f.density_width, f.density_hidden_layers) && fits(f.color_width, f.color_hidden_layers) &&
         valid_grid(f.resolution, f.levels);
}

/* A point of the unit cube's frame to where the hash grid has it, where space has no end; answers how far out it is, in
 * half sides of the cube, at least 1. */
inline vfloat contract(vfloat &x, vfloat &y, vfloat &z) {
  x = 2.0f * x - 1.0f, y = 2.0f * y - 1.0f, z = 2.0f * z - 1.0f;
  const vfloat reach = vmax(vmax(splat(1.0f), vmax(x, -x)), vmax(vmax(y, -y), vmax(z, -z)));
  const vfloat scale = 0.25f * (2.0f - 1.0f / reach) / reach;
  x = x * scale + 0.5f, y = y * scale + 0.5f, z = z * scale + 0.5f;
  return reach;
}
/* Columns [0, columns) of a chunk; `reach`, if given, takes how far out they are. */
inline void contract_columns(float *x, float *y, float *z, int columns, float *reach) {
  for (int s = 0; s < columns; s += kLanes) {
    vfloat a = loadf(x + s), b = loadf(y + s), c = loadf(z + s);
    const vfloat r = contract(a, b, c);
    storef(x + s, a), storef(y + s, b), storef(z + s, c);
    if (reach) storef(reach + s, r);
  }
}

/* float32 rows of a chunk into panel rows. */
template <class P> inline void to_panel_rows(const float *rows, int features, int columns, typename P::word *panel) {
  for (int k = 0; k < features; k += 2)
    for (int s = 0; s < columns; s += kLanes)
      store_pair(panel, kChunk, k, s, rounded<P>(loadf(rows + k * kChunk + s)),
                 rounded<P>(loadf(rows + (k + 1) * kChunk + s)));
}

} // namespace nr
