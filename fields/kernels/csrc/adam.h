/* Adam (arXiv:1412.6980) over the entries of a table that have a gradient. */
#pragma once
#include <cmath>

#include "hash_grid.h"
#include "simd.h"

namespace nr {

struct AdamStep {
  float rate, beta1, beta2, epsilon, correction2; /* rate: learning rate over bias correction 1 */
  AdamStep(float learning_rate, float beta1, float beta2, float epsilon, int64_t step)
      : rate((float)(learning_rate / (1 - std::pow((double)beta1, (double)step)))), beta1(beta1), beta2(beta2),
        epsilon(epsilon), correction2((float)(1 / (1 - std::pow((double)beta2, (double)step)))) {}

  template <class V> void update(V &value, V &m, V &v, V g) const {
    m = m * beta1 + g * (1 - beta1);
    v = v * beta2 + g * g * (1 - beta2);
    value -= m * rate / (root(v * correction2) + epsilon);
  }
  static vfloat root(vfloat x) { return vsqrt(x); }
  static float root(float x) { return std::sqrt(x); }
};

/* Lanes of the entries of F values that have any nonzero gradient. */
template <int F> inline vint entry_mask(vfloat g) {
  static_assert(kLanes % F == 0 && kLanes <= 16 && F <= 8);
  alignas(64) static constexpr int32_t kPartner[3][16] = {
      {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
      {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
      {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11}};
  vint any = g != 0.0f;
  if constexpr (F > 1) any |= __builtin_shuffle(any, load<vint>(kPartner[0]));
  if constexpr (F > 2) any |= __builtin_shuffle(any, load<vint>(kPartner[1]));
  if constexpr (F > 4) any |= __builtin_shuffle(any, load<vint>(kPartner[2]));
  return any;
}

/* Values [begin, end) of a table, whole entries; the gradient is zeroed; `half`, if given, keeps a copy
 * of the table in half precision. */
template <int F>
inline void adam_range(float *value, float *m, float *v, float *g, [[maybe_unused]] half_bits *half, int64_t begin, int64_t end,
                       const AdamStep &step) {
  int64_t i = begin;
  if constexpr (kLanes % F == 0) {
    for (; i + kLanes <= end; i += kLanes) {
      const vfloat gradient = loadf(g + i);
      const vint touched = entry_mask<F>(gradient);
#if defined(__AVX512F__)
      if (!_mm512_test_epi32_mask((__m512i)touched, (__m512i)touched)) continue;
#elif defined(__AVX2__)
      if (!_mm256_movemask_epi8((__m256i)touched)) continue;
#endif
      const vfloat value0 = loadf(value + i), m0 = loadf(m + i), v0 = loadf(v + i);
      vfloat value1 = value0, m1 = m0, v1 = v0;
      step.update(value1, m1, v1, gradient);
      value1 = touched ? value1 : value0;
      storef(value + i, value1);
      storef(m + i, touched ? m1 : m0);
      storef(v + i, touched ? v1 : v0);
      storef(g + i, splat(0.0f));
#if defined(__AVX512F__)
      if (half) _mm256_storeu_si256((__m256i *)(half + i), _mm512_cvtps_ph((__m512)value1, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
      if (half) _mm_storeu_si128((__m128i *)(half + i), _mm256_cvtps_ph((__m256)value1, _MM_FROUND_TO_NEAREST_INT));
#endif
    }
  }
  for (; i < end; i += F) {
    bool touched = false;
    for (int f = 0; f < F; f++) touched |= g[i + f] != 0;
    if (!touched) continue;
    for (int f = 0; f < F; f++) {
      step.update(value[i + f], m[i + f], v[i + f], g[i + f]);
      g[i + f] = 0;
#if defined(__F16C__)
      if (half) half[i + f] = to_half(value[i + f]);
#endif
    }
  }
}

} // namespace nr
