/* What the weights w_i of a ray's samples, at distances t_i, cost beyond the colour they make. Two passes over its
 * samples, in their order: `add` sums, `gradient` then gives d loss / d w_i.
 *
 *   distortion  sum_ij w_i w_j |u_i - u_j| + interval / 3 sum_i w_i^2    (arXiv:2111.12077, eq. 15)
 *   depth       sum_i w_i min(|t_i - d| / d, 1) + 1 - sum_i w_i          of a ray whose distance d is known
 *   opacity     1 - sum_i w_i
 *
 * u is the distance at first and its logarithm further out: `Spacing.place` times the interval, which is the same for
 * all samples. They are means over the step's rays. */
#pragma once
#include "march.h"

namespace nr {

template <int kRays> class WeightTerms {
public:
  WeightTerms(const Spacing &spacing, float distortion, float depth, float opacity)
      : spacing_(spacing), interval_(spacing.growth > 0 ? spacing.growth : spacing.step), distortion_(distortion),
        depth_(depth), opacity_(opacity) {}
  bool wanted() const { return distortion_ > 0 || depth_ > 0 || opacity_ > 0; }

  /* distance: 0 where it is not known. */
  void start(int ray, float distance) { rays_[ray] = Ray{distance}; }

  void places(const float *t, int count, float *u) const {
    for (int s = 0; s < count; s += kLanes) storef(u + s, interval_ * spacing_.place(loadf(t + s)));
  }
  void add(int ray, float w, float t, float u) {
    Ray &r = rays_[ray];
    r.spread += 2 * w * (u * r.weight - r.moment) + interval_ / 3 * w * w;
    r.weight += w, r.moment += w * u;
    r.missed += w * miss(r.distance, t);
  }
  float loss(int ray) const {
    const Ray &r = rays_[ray];
    return distortion_ * r.spread + (r.distance > 0 ? depth_ * (1 + r.missed) : 0.0f) + opacity_ * (1 - r.weight);
  }
  /* sum_j w_j d loss / d w_j; then the second pass may begin. */
  float turn(int ray) {
    Ray &r = rays_[ray];
    r.front_weight = r.front_moment = 0;
    return 2 * distortion_ * r.spread + depth_ * r.missed - opacity_ * r.weight;
  }
  float gradient(int ray, float w, float t, float u) {
    Ray &r = rays_[ray];
    const float behind_weight = r.weight - r.front_weight - w, behind_moment = r.moment - r.front_moment - w * u;
    const float away = u * (r.front_weight - behind_weight) - (r.front_moment - behind_moment);
    r.front_weight += w, r.front_moment += w * u;
    return distortion_ * 2 * (away + interval_ / 3 * w) + depth_ * miss(r.distance, t) - opacity_;
  }

private:
  struct Ray {
    float distance = 0;
    float weight = 0, moment = 0, spread = 0, missed = 0; /* sums: w, w u, distortion, w miss */
    float front_weight = 0, front_moment = 0;             /* of the samples passed so far */
  };
  const Spacing spacing_;
  const float interval_, distortion_, depth_, opacity_;
  Ray rays_[kRays];

  static float miss(float distance, float t) { /* -1 at the distance, 0 from twice as far on */
    if (!(distance > 0)) return 0;
    const float off = std::fabs(t - distance) / distance;
    return off < 1 ? off - 1 : 0.0f;
  }
};

} // namespace nr
