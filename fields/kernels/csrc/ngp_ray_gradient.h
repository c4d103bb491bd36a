/* Gradients of the loss by origins and directions of rays: through the points at which the field was asked, and
 * through the directions that the colour network sees. Where samples stand on a ray is a constant. */
#pragma once
#include "ngp_trace.h"

namespace nr {

/* Gradients of sixteen samples at one level, from panel rows to [sample][feature]. */
template <int F> void level_rows(const float *panel, float *rows) {
  for (int f = 0; f < F; f++)
    for (int s = 0; s < kGroup; s++) rows[s * F + f] = panel[f * kChunk + s];
}
template <int F> void level_rows(const uint32_t *panel, float *rows) {
  for (int f = 0; f < F; f += 2)
    for (int s = 0; s < kGroup; s++) {
      const uint32_t pair = panel[f / 2 * kChunk + s];
      rows[s * F + f] = from_bf16_bits((uint16_t)pair);
      rows[s * F + f + 1] = from_bf16_bits((uint16_t)(pair >> 16));
    }
}

/* Adds one level's part of d loss / d (x, y, z) of sixteen samples; rows: gradients of the level's features. */
template <int F, class T>
void add_point_gradient(const GridLevel &level, const T *table, const float *x, const float *y, const float *z,
                        const float *rows, float (*sum)[kGroup]) {
  Corners corners;
  find_corners(level, x, y, z, corners);
  alignas(64) float along[8][kGroup];
  for (int s = 0; s < kGroup; s++)
    for (int c = 0; c < 8; c++) {
      const Values<F> entry = read_values<F>(table + (size_t)corners.index[c][s] * F);
      float dot = 0;
      for (int f = 0; f < F; f++) dot += entry.v[f] * rows[s * F + f];
      along[c][s] = dot;
    }
  for (int s = 0; s < kGroup; s += kLanes) {
    vfloat f[3] = {loadf(x + s) * level.scale + 0.5f, loadf(y + s) * level.scale + 0.5f,
                   loadf(z + s) * level.scale + 0.5f};
    for (auto &a : f) a = a - to_float(truncate(a));
    for (int axis = 0; axis < 3; axis++) { /* corners differ along it; weights of the two others */
      const int one = axis == 0 ? 1 : 0, two = axis == 2 ? 1 : 2;
      vfloat slope = splat(0.0f);
      for (int c = 0; c < 8; c++) {
        if (c >> axis & 1) continue;
        const vfloat weight = (c >> one & 1 ? f[one] : 1.0f - f[one]) * (c >> two & 1 ? f[two] : 1.0f - f[two]);
        slope = slope + weight * (loadf(along[c | 1 << axis] + s) - loadf(along[c] + s));
      }
      storef(sum[axis] + s, loadf(sum[axis] + s) + level.scale * slope);
    }
  }
}

/* Of a contracted point back to the unit cube's frame: the transpose of the derivative of `contract`. */
inline void contract_gradient(const float *point, float *gradient) {
  float q[3], reach = 1;
  int widest = -1;
  for (int a = 0; a < 3; a++) {
    q[a] = 2 * point[a] - 1;
    if (std::fabs(q[a]) > reach) reach = std::fabs(q[a]), widest = a;
  }
  const float scale = 0.25f * (2 - 1 / reach) / reach;
  const float along = gradient[0] * q[0] + gradient[1] * q[1] + gradient[2] * q[2];
  for (int a = 0; a < 3; a++) gradient[a] *= 2 * scale;
  if (widest >= 0) {
    const float slope = 0.5f * (1 / reach - 1) / (reach * reach); /* of scale by reach */
    gradient[widest] += 2 * along * slope * (q[widest] > 0 ? 1 : -1);
  }
}

template <class Mode> class RayGradients {
public:
  void clear() {
    std::memset(origin_, 0, sizeof origin_);
    std::memset(direction_, 0, sizeof direction_);
    std::memset(harmonics_, 0, sizeof harmonics_);
  }
  /* rows: gradient of the colour network's inputs that are harmonics, float32 [kHarmonics][kChunk]. */
  void add_harmonics(const BlockChunk<Mode> &chunk, int count, const float *rows) {
    for (int k = 0; k < kHarmonics; k++)
      for (int s = 0; s < count; s++) harmonics_[chunk.ray[s]][k] += rows[k * kChunk + s];
  }
  /* Of a chunk whose encoding panel holds its gradient by now, through the first `levels` of the grid. */
  void add_points(const nr_ngp &field, const BlockTracer<Mode> &tracer, const BlockChunk<Mode> &chunk,
                  const KeptChunk<Mode> &kept, int levels) {
    with_features(field.grid, [&](auto features) { add<features.value>(field, tracer, chunk, kept, levels); });
  }
  /* Of ray r, in model units. */
  void finish(int r, const BlockTracer<Mode> &tracer, float side, float *origin, float *direction) const {
    float of_harmonics[3];
    const float *d = tracer.direction(r);
    spherical_harmonics_gradient(d[0], d[kBlockRays], d[2 * kBlockRays], harmonics_[r], of_harmonics);
    for (int a = 0; a < 3; a++) {
      origin[a] = origin_[r][a] / side;
      direction[a] = direction_[r][a] + of_harmonics[a];
    }
  }

private:
  float origin_[kBlockRays][3], direction_[kBlockRays][3], harmonics_[kBlockRays][kHarmonics];

  template <int F>
  void add(const nr_ngp &field, const BlockTracer<Mode> &tracer, const BlockChunk<Mode> &chunk,
           const KeptChunk<Mode> &kept, int levels) {
    alignas(64) float rows[kGroup * F];
    for (int begin = 0; begin < kept.count; begin += kGroup) {
      alignas(64) float sum[3][kGroup] = {};
      for (int l = 0; l < levels; l++) {
        const GridLevel level = grid_level(field.grid, l);
        level_rows<F>(kept.encoding.data() + l * F / Mode::P::per_word * kChunk + begin, rows);
        add_point_gradient<F>(level, Mode::read(field) + level.offset * F, kept.x + begin, kept.y + begin,
                              kept.z + begin, rows, sum);
      }
      for (int s = begin; s < kept.count && s < begin + kGroup; s++) {
        const int r = chunk.ray[s];
        float gradient[3], point[3];
        for (int a = 0; a < 3; a++) {
          gradient[a] = sum[a][s - begin];
          point[a] = tracer.origin(r)[a * kBlockRays] + chunk.t[s] * tracer.direction(r)[a * kBlockRays];
        }
        if (field.levels > 1) contract_gradient(point, gradient);
        for (int a = 0; a < 3; a++) origin_[r][a] += gradient[a], direction_[r][a] += chunk.t[s] * gradient[a];
      }
    }
  }
};

} // namespace nr
