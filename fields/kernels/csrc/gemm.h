/* Matrix products on panels, the one inner loop of every network here.
 *
 * A panel holds features x samples, 4-byte words, sample fastest:
 *   Float32   word[k][s] = x[k][s]
 *   BFloat16  word[k/2][s] = (x[k][s], x[k+1][s])     two features in a word, low half first
 * which is what a fused multiply-add, VDPBF16PS and an AMX tile each want as their right-hand side
 * without any shuffling. The left-hand side is row-major, [m][k] in the same words.
 * Weight gradients are the same product with samples as the inner dimension: dW = dY X^T with
 * `regroup` making [m][s] words of dY and `transpose` making [s][k] words of X. */
#pragma once
#include "amx.h"
#include "simd.h"

namespace nr {

constexpr int kChunk = 128; /* samples in a panel: its 64 rows stay in the L1 or L2 cache */

struct Float32 {
  typedef float word;
  static constexpr int per_word = 1;
};
/* Float32 storage and arithmetic, values rounded to bfloat16 where BFloat16 would round them: the
 * same numbers (but for the order of sums) on processors without bfloat16 instructions. */
struct RoundedFloat32 : Float32 {};
#if NR_BF16
struct BFloat16 {
  typedef uint32_t word;
  static constexpr int per_word = 2;
};
#endif

#if NR_LANES == 16
constexpr int kTileRows = 8, kTileVectors = 2;
#else
constexpr int kTileRows = 4, kTileVectors = 2;
#endif
constexpr int kTileColumns = kTileVectors * kLanes;

template <int MR> struct Tile {
  vfloat sum[MR][kTileVectors];
};

inline void multiply_add(vfloat &sum, float a, vfloat b) { sum += a * b; }
#if NR_BF16
inline void multiply_add(vfloat &sum, uint32_t a, vuint b) {
  sum = (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
}
inline vuint load_word(const uint32_t *p) { return load<vuint>(p); }
#endif
inline vfloat load_word(const float *p) { return loadf(p); }

template <class Word, int MR, class Epilogue>
inline __attribute__((always_inline)) void tile_product(const Word *a, int lda, const Word *b, int ldb, int depth,
                                                        int m, int n, const Epilogue &epilogue) {
  Tile<MR> tile;
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 2
    for (int j = 0; j < kTileVectors; j++) tile.sum[r][j] = splat(0.0f);
  a += (int64_t)m * lda;
  b += n;
  for (int k = 0; k < depth; k++) {
    auto b0 = load_word(b + (int64_t)k * ldb), b1 = load_word(b + (int64_t)k * ldb + kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) {
      multiply_add(tile.sum[r][0], a[r * lda + k], b0);
      multiply_add(tile.sum[r][1], a[r * lda + k], b1);
    }
  }
  epilogue(m, n, tile);
}

/* C[m][n] = sum_k a[m][k] b[k][n], k in words; m a multiple of 4, n of kTileColumns; the epilogue takes
 * each finished tile. */
template <class P, class Epilogue>
inline void multiply_vectors(const typename P::word *a, int lda, const typename P::word *b, int ldb, int depth, int rows,
                     int columns, const Epilogue &epilogue) {
  for (int n = 0; n < columns; n += kTileColumns) {
    int m = 0;
    for (; m + kTileRows <= rows; m += kTileRows)
      tile_product<typename P::word, kTileRows>(a, lda, b, ldb, depth, m, n, epilogue);
    if (kTileRows > 4 && m < rows) tile_product<typename P::word, 4>(a, lda, b, ldb, depth, m, n, epilogue);
  }
}

#if NR_AMX
/* On tiles; rows and depth are multiples of 16, columns of 32. */
template <class Epilogue>
inline void multiply_tiles(const uint32_t *a, int lda, const uint32_t *b, int ldb, int depth, int rows, int columns,
                           const Epilogue &epilogue) {
  alignas(64) float sums[32 * 32];
  for (int n = 0; n < columns; n += 32)
    for (int m = 0; m < rows; m += 32) {
      const int height = rows - m < 32 ? rows - m : 32;
      if (height == 32)
        tile_block<true>(a + (int64_t)m * lda, lda, b + n, ldb, depth, sums);
      else
        tile_block<false>(a + (int64_t)m * lda, lda, b + n, ldb, depth, sums);
      for (int r = 0; r < height; r += kTileRows) {
        Tile<kTileRows> tile;
#pragma GCC unroll 8
        for (int i = 0; i < kTileRows; i++)
          for (int j = 0; j < kTileVectors; j++) tile.sum[i][j] = loadf(sums + (r + i) * 32 + j * kLanes);
        epilogue(m + r, n, tile);
      }
    }
}
#endif

template <class P, class Epilogue>
inline void multiply(const typename P::word *a, int lda, const typename P::word *b, int ldb, int depth, int rows,
                     int columns, const Epilogue &epilogue) {
#if NR_AMX
  if constexpr (P::per_word == 2)
    if (rows % kTile == 0 && depth % kTile == 0)
      return multiply_tiles(a, lda, b, ldb, depth, rows, columns, epilogue);
#endif
  multiply_vectors<P>(a, lda, b, ldb, depth, rows, columns, epilogue);
}

/* ---- what becomes of a finished tile ---- */

template <class P> inline vfloat rounded(vfloat x) { return x; }
template <> inline vfloat rounded<RoundedFloat32>(vfloat x) { return round_bf16(x); }

inline void store_pair(float *y, int stride, int m, int n, vfloat a, vfloat b) {
  storef(y + (int64_t)m * stride + n, a);
  storef(y + (int64_t)(m + 1) * stride + n, b);
}
inline void store_pair(uint32_t *y, int stride, int m, int n, vfloat a, vfloat b) {
  store(y + (int64_t)(m / 2) * stride + n, pack_bf16(a, b));
}
inline void load_pair(const float *y, int stride, int m, int n, vfloat &a, vfloat &b) {
  a = loadf(y + (int64_t)m * stride + n);
  b = loadf(y + (int64_t)(m + 1) * stride + n);
}
inline void load_pair(const uint32_t *y, int stride, int m, int n, vfloat &a, vfloat &b) {
  vuint w = load<vuint>(y + (int64_t)(m / 2) * stride + n);
  a = low_bf16(w);
  b = high_bf16(w);
}

/* Into a panel, through f(value, m, n) on pairs of rows. */
template <class P, class F> struct ToPanel {
  typename P::word *y;
  int stride;
  F f;
  template <int MR> void operator()(int m, int n, Tile<MR> &tile) const {
#pragma GCC unroll 4
    for (int r = 0; r < MR; r += 2)
#pragma GCC unroll 2
      for (int j = 0; j < kTileVectors; j++) {
        vfloat a = tile.sum[r][j], b = tile.sum[r + 1][j];
        f(m + r, n + j * kLanes, a, b);
        store_pair(y, stride, m + r, n + j * kLanes, rounded<P>(a), rounded<P>(b));
      }
  }
};
struct Keep {
  void operator()(int, int, vfloat &, vfloat &) const {}
};
struct Relu {
  void operator()(int, int, vfloat &a, vfloat &b) const {
    a = vmax(a, splat(0.0f));
    b = vmax(b, splat(0.0f));
  }
};
/* The gradient passes where the activation was positive. */
template <class P> struct ReluGradient {
  const typename P::word *activation;
  int stride;
  void operator()(int m, int n, vfloat &a, vfloat &b) const {
    vfloat x, y;
    load_pair(activation, stride, m, n, x, y);
    a = x > 0.0f ? a : splat(0.0f);
    b = y > 0.0f ? b : splat(0.0f);
  }
};
template <class P, class F> inline ToPanel<P, F> to_panel(typename P::word *y, int stride, F f) {
  return ToPanel<P, F>{y, stride, f};
}

/* Into a float32 matrix. */
struct ToFloat {
  float *y;
  int stride;
  template <int MR> void operator()(int m, int n, Tile<MR> &tile) const {
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 2
      for (int j = 0; j < kTileVectors; j++) storef(y + (int64_t)(m + r) * stride + n + j * kLanes, tile.sum[r][j]);
  }
};
struct AddFloat {
  float *y;
  int stride;
  template <int MR> void operator()(int m, int n, Tile<MR> &tile) const {
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 2
      for (int j = 0; j < kTileVectors; j++) {
        float *p = y + (int64_t)(m + r) * stride + n + j * kLanes;
        storef(p, loadf(p) + tile.sum[r][j]);
      }
  }
};

/* ---- layouts ---- */

#if NR_LANES == 16
/* 16 x 16 words, rows `in + i * in_stride` to `out + i * out_stride`. */
inline void transpose_block(const void *in, int in_stride, void *out, int out_stride) {
  const int *p = (const int *)in;
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(p + (int64_t)i * in_stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  int *q = (int *)out;
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(q + (int64_t)i * out_stride, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_si512(q + (int64_t)(i + 8) * out_stride, _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    _mm512_storeu_si512(q + (int64_t)(i + 4) * out_stride, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_storeu_si512(q + (int64_t)(i + 12) * out_stride, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
  }
}
#else
inline void transpose_block(const void *in, int in_stride, void *out, int out_stride) {
  const uint32_t *p = (const uint32_t *)in;
  uint32_t *q = (uint32_t *)out;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) q[(int64_t)j * out_stride + i] = p[(int64_t)i * in_stride + j];
}
#endif

/* Panel [features][columns] -> words [columns / per_word][features]: the right-hand side of a weight
 * gradient. features and columns are multiples of 16 (of 32 for BFloat16 features). */
inline void transpose(Float32, const float *x, int stride, int features, int columns, float *out) {
  for (int k = 0; k < features; k += 16)
    for (int s = 0; s < columns; s += 16)
      transpose_block(x + (int64_t)k * stride + s, stride, out + (int64_t)s * features + k, features);
}
/* The left-hand side of a weight gradient: words [features][columns / per_word]. */
inline const float *regroup(Float32, const float *y, int, int, int, float *) { return y; }
#if NR_BF16
inline void transpose(BFloat16, const uint32_t *x, int stride, int features, int columns, uint32_t *out) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                       37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54,
                                        22, 53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
  alignas(64) uint32_t block[16 * 16];
  for (int k = 0; k < features / 2; k += 16)
    for (int s = 0; s < columns; s += 16) {
      transpose_block(x + (int64_t)k * stride + s, stride, block, 16);
#pragma GCC unroll 8
      for (int i = 0; i < 16; i += 2) { /* rows of samples i, i+1: 32 features each */
        __m512i a = _mm512_load_si512(block + i * 16), b = _mm512_load_si512(block + i * 16 + 16);
        uint32_t *o = out + (int64_t)((s + i) / 2) * features + 2 * k;
        _mm512_storeu_si512(o, _mm512_permutex2var_epi16(a, low, b));
        _mm512_storeu_si512(o + 16, _mm512_permutex2var_epi16(a, high, b));
      }
    }
}
inline const uint32_t *regroup(BFloat16, const uint32_t *y, int stride, int features, int columns,
                               uint32_t *out) {
  const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                                        24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
  for (int k = 0; k < features / 2; k++)
    for (int s = 0; s < columns; s += 32) {
      const uint32_t *p = y + (int64_t)k * stride + s;
      __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + 16);
      uint32_t *o = out + (int64_t)(2 * k) * (stride / 2) + s / 2;
      _mm512_storeu_si512(o, _mm512_permutex2var_epi16(a, even, b));
      _mm512_storeu_si512(o + stride / 2, _mm512_permutex2var_epi16(a, odd, b));
    }
  return out;
}
#endif

/* ---- weights ---- */

inline float bf16_value(float x) { return from_bf16_bits(bf16_bits(x)); }

/* Row-major float32 [rows][columns] to words [rows][columns / per_word], or of its transpose. */
inline void pack(Float32, const float *w, int rows, int columns, float *out) {
  std::memcpy(out, w, sizeof(float) * rows * columns);
}
inline void pack(RoundedFloat32, const float *w, int rows, int columns, float *out) {
  for (int i = 0; i < rows * columns; i++) out[i] = bf16_value(w[i]);
}
inline void pack_transposed(Float32, const float *w, int rows, int columns, float *out) {
  for (int m = 0; m < rows; m++)
    for (int k = 0; k < columns; k++) out[k * rows + m] = w[m * columns + k];
}
inline void pack_transposed(RoundedFloat32, const float *w, int rows, int columns, float *out) {
  for (int m = 0; m < rows; m++)
    for (int k = 0; k < columns; k++) out[k * rows + m] = bf16_value(w[m * columns + k]);
}
#if NR_BF16
inline uint32_t bf16_pair(float low, float high) { return bf16_bits(low) | ((uint32_t)bf16_bits(high) << 16); }
inline void pack(BFloat16, const float *w, int rows, int columns, uint32_t *out) {
  for (int i = 0; i < rows * columns / 2; i++) out[i] = bf16_pair(w[2 * i], w[2 * i + 1]);
}
inline void pack_transposed(BFloat16, const float *w, int rows, int columns, uint32_t *out) {
  for (int k = 0; k < columns; k++)
    for (int m = 0; m < rows; m += 2)
      out[(k * rows + m) / 2] = bf16_pair(w[m * columns + k], w[(m + 1) * columns + k]);
}
#endif

} // namespace nr
