/* Spherical harmonics as an operator of their own. */
#include "spherical_harmonics.h"

#include "kernels.h"
#include "pool.h"
#include "simd.h"

namespace nr {
namespace {
constexpr int64_t kDirections = 16384; /* in a task */

/* kLanes directions, one vector an axis; absent ones are zero. */
void read(const float *directions, int64_t count, vfloat *axis) {
  float a[3][kLanes] = {};
  for (int64_t s = 0; s < count; s++)
    for (int d = 0; d < 3; d++) a[d][s] = directions[s * 3 + d];
  for (int d = 0; d < 3; d++) axis[d] = loadf(a[d]);
}
} // namespace
} // namespace nr

int nr_spherical_harmonics_forward(const float *directions, int64_t n, float *out, int threads) {
  using namespace nr;
  parallel_blocks(n, kDirections, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t count = end - i < kLanes ? end - i : kLanes;
      vfloat d[3], y[16];
      read(directions + i * 3, count, d);
      spherical_harmonics(d[0], d[1], d[2], y);
      for (int64_t s = 0; s < count; s++)
        for (int k = 0; k < 16; k++) out[(i + s) * 16 + k] = y[k][s];
    }
  });
  return NR_OK;
}

int nr_spherical_harmonics_backward(const float *directions, const float *grad_out, int64_t n,
                                    float *grad_directions, int threads) {
  using namespace nr;
  parallel_blocks(n, kDirections, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t count = end - i < kLanes ? end - i : kLanes;
      vfloat d[3], g[16] = {}, grad[3];
      read(directions + i * 3, count, d);
      for (int64_t s = 0; s < count; s++)
        for (int k = 0; k < 16; k++) g[k][s] = grad_out[(i + s) * 16 + k];
      spherical_harmonics_gradient(d[0], d[1], d[2], g, grad);
      for (int64_t s = 0; s < count; s++)
        for (int k = 0; k < 3; k++) grad_directions[(i + s) * 3 + k] = grad[k][s];
    }
  });
  return NR_OK;
}
