/* One source for every instruction set: vectors of the compiler's own vector types, whose width
 * follows from the flags. Products and sums contract to FMA (-ffp-contract=fast). */
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
/* g++ 12 warns about its own intrinsics (GCC bug 105593). */
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define NR_LANES 16
#elif defined(__AVX2__)
#define NR_LANES 8
#else
#define NR_LANES 4
#endif
#if defined(__AVX512BF16__)
#define NR_BF16 1
#else
#define NR_BF16 0
#endif

namespace nr {

constexpr int kLanes = NR_LANES;
typedef float vfloat __attribute__((vector_size(4 * NR_LANES)));
typedef int32_t vint __attribute__((vector_size(4 * NR_LANES)));
typedef uint32_t vuint __attribute__((vector_size(4 * NR_LANES)));
typedef float float4 __attribute__((vector_size(16)));
typedef int32_t int4 __attribute__((vector_size(16)));

template <class V, class T> inline V load(const T *p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class T> inline void store(T *p, V v) { std::memcpy(p, &v, sizeof(V)); }
inline vfloat loadf(const float *p) { return load<vfloat>(p); }
inline void storef(float *p, vfloat v) { store(p, v); }
inline vfloat splat(float x) { return vfloat{} + x; }
inline vint isplat(int32_t x) { return vint{} + x; }
inline vuint usplat(uint32_t x) { return vuint{} + x; }
/* Of a NaN in `a`, these give NaN: a broken parameter must reach the loss. */
inline vfloat vmax(vfloat a, vfloat b) { return b > a ? b : a; }
inline vfloat vmin(vfloat a, vfloat b) { return b < a ? b : a; }
inline vint vmax(vint a, vint b) { return b > a ? b : a; }
inline vint vmin(vint a, vint b) { return b < a ? b : a; }
inline vint truncate(vfloat x) { return __builtin_convertvector(x, vint); }
inline vfloat to_float(vint x) { return __builtin_convertvector(x, vfloat); }
inline vfloat vsqrt(vfloat x) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (vfloat)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < kLanes; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
inline float hsum(vfloat x) {
  float s = 0;
  for (int i = 0; i < kLanes; i++) s += x[i];
  return s;
}

/* Stores the lanes of x whose bits are set in `lanes`, one after the other. */
inline void store_selected(uint32_t *to, vuint x, unsigned lanes) {
#if defined(__AVX512F__)
  const __mmask16 front = (__mmask16)((1u << __builtin_popcount(lanes)) - 1);
  _mm512_mask_storeu_epi32(to, front, _mm512_maskz_compress_epi32((__mmask16)lanes, (__m512i)x));
#else
  for (; lanes; lanes &= lanes - 1) *to++ = x[__builtin_ctz(lanes)];
#endif
}
template <class T> inline void store_selected(T *to, const T *from, unsigned lanes) {
  static_assert(sizeof(T) == 4);
  store_selected((uint32_t *)to, load<vuint>(from), lanes);
}

/* exp(x) to 2 ulp for |x| < 87; saturates beyond, so that no infinity appears. Cephes' polynomial. */
inline vfloat vexp(vfloat x) {
  x = vmin(vmax(x, splat(-87.0f)), splat(88.0f));
  const vfloat magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
  vfloat shifted = x * 1.44269504088896341f + magic;
  vint exponent = (vint)shifted - (vint)magic;
  vfloat whole = shifted - magic;
  vfloat r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  vfloat p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * (vfloat)((exponent + 127) << 23);
}

/* ln(x) to 2 ulp for x in [2^-100, 2^100]. Cephes' polynomial. */
inline vfloat vlog(vfloat x) {
  const vint bits = (vint)x, low = bits & 0x7fffff;
  /* Mantissa in [sqrt(1/2), sqrt(2)): so the polynomial is used near 1 alone. */
  const vint upper = (low > 0x3504f3) & 1;
  const vfloat exponent = to_float((bits >> 23) - 127 + upper);
  const vfloat m = (vfloat)(low | ((127 - upper) << 23)) - 1.0f, square = m * m;
  vfloat p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * square + exponent * -2.12194440e-4f - square * 0.5f;
  return m + p + exponent * 0.693359375f;
}

/* 1 - exp(-x) for x >= 0 without cancellation where x is small. */
inline vfloat one_minus_exp(vfloat x) {
  vfloat series = x * (1.0f - x * (0.5f - x * (0.16666667f - x * (0.041666668f - x * 0.0083333338f))));
  return x < 0.25f ? series : 1.0f - vexp(-x);
}
inline vfloat sigmoid(vfloat x) { return 1.0f / (1.0f + vexp(-x)); }

inline uint16_t bf16_bits(float x) { /* round to nearest even; NaN stays NaN */
  uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
inline float from_bf16_bits(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}
inline vfloat round_bf16(vfloat x) {
  vuint u = (vuint)x;
  vuint r = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
  return (x == x) ? (vfloat)r : x;
}
/* Two vectors of float32 to one vector of bfloat16 pairs: low half from `even`, high from `odd`. */
inline vuint pack_bf16(vfloat even, vfloat odd) {
#if NR_BF16
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                         6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
  return (vuint)_mm512_permutexvar_epi16(order, both);
#else
  return ((vuint)round_bf16(even) >> 16) | ((vuint)round_bf16(odd) & 0xffff0000u);
#endif
}
inline vfloat low_bf16(vuint pair) { return (vfloat)(pair << 16); }
inline vfloat high_bf16(vuint pair) { return (vfloat)(pair & 0xffff0000u); }

} // namespace nr
