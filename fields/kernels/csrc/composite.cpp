/* Volume rendering of packed samples as an operator: w_i = T_i (1 - exp(-density_i delta_i)),
 * T_i = exp(-sum_{j<i} density_j delta_j). */
#include <cmath>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace {
constexpr int64_t kRays = 256; /* in a task */
}

int nr_composite_forward(const float *density, const float *values, const float *delta, const int64_t *ray_start,
                         int64_t rays, int32_t channels, float *out, float *opacity, float *weights, int threads) {
  if (channels < 1) return NR_BAD_ARGUMENT;
  nr::parallel_blocks(rays, kRays, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      float *pixel = out + r * channels;
      for (int c = 0; c < channels; c++) pixel[c] = 0;
      double before = 0, sum = 0; /* doubles: a ray of a million samples is as exact as one of ten */
      for (int64_t i = ray_start[r]; i < ray_start[r + 1]; i++) {
        const float thickness = density[i] * delta[i];
        const float weight = (float)std::exp(-before) * -std::expm1(-thickness);
        before += thickness;
        weights[i] = weight;
        sum += weight;
        for (int c = 0; c < channels; c++) pixel[c] += weight * values[i * channels + c];
      }
      opacity[r] = (float)sum;
    }
  });
  return NR_OK;
}

/* With G_i the gradient that reaches weight i: d density_i = delta_i (T_{i+1} G_i - sum_{j>i} w_j G_j). */
int nr_composite_backward(const float *density, const float *values, const float *delta, const int64_t *ray_start,
                          int64_t rays, int32_t channels, const float *grad_out, const float *grad_opacity,
                          const float *grad_weights, float *grad_density, float *grad_values, int threads) {
  if (channels < 1) return NR_BAD_ARGUMENT;
  std::vector<std::vector<float>> scratch(threads);
  nr::parallel_blocks(rays, kRays, threads, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float> &before = scratch[worker]; /* transmittance before each sample, and after the last */
    for (int64_t r = begin; r < end; r++) {
      const int64_t first = ray_start[r], count = ray_start[r + 1] - first;
      before.resize(count + 1);
      double thickness = 0;
      before[0] = 1;
      for (int64_t i = 0; i < count; i++) {
        thickness += density[first + i] * delta[first + i];
        before[i + 1] = (float)std::exp(-thickness);
      }
      const float *g = grad_out + r * channels;
      double behind = 0;
      for (int64_t k = count - 1; k >= 0; k--) {
        const int64_t i = first + k;
        const float weight = before[k] * -std::expm1(-density[i] * delta[i]);
        float reaching = grad_opacity[r] + grad_weights[i];
        for (int c = 0; c < channels; c++) {
          reaching += g[c] * values[i * channels + c];
          grad_values[i * channels + c] = weight * g[c];
        }
        grad_density[i] = delta[i] * (float)(before[k + 1] * reaching - behind);
        behind += weight * reaching;
      }
    }
  });
  return NR_OK;
}
