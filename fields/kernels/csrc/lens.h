/* Unit directions, in camera axes, of points of the picture plane: `undistort` of scenes/lenses.py. In double
 * precision, since a hundredth of a pixel is a few float steps; points beyond the lens's field are never asked. */
#pragma once
#include <cmath>

#include "kernels.h"

namespace nr {

constexpr int kNewtonSteps = 100; /* most; a real lens takes five */

inline void solve_perspective(const float *k, double u, double v, double &x, double &y) {
  const double k1 = k[0], k2 = k[1], p1 = k[2], p2 = k[3], k3 = k[4], k4 = k[5], k5 = k[6], k6 = k[7];
  x = u, y = v;
  for (int i = 0; i < kNewtonSteps; i++) {
    const double r2 = x * x + y * y;
    const double above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6));
    const double d_above = k1 + r2 * (2 * k2 + r2 * 3 * k3), d_below = k4 + r2 * (2 * k5 + r2 * 3 * k6);
    const double radial = above / below, d_radial = 2 * (d_above * below - above * d_below) / (below * below);
    const double error_u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - u;
    const double error_v = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) - v;
    const double a = radial + x * x * d_radial + 2 * p1 * y + 6 * p2 * x;
    const double b = x * y * d_radial + 2 * p1 * x + 2 * p2 * y;
    const double c = radial + y * y * d_radial + 2 * p2 * x + 6 * p1 * y;
    const double determinant = a * c - b * b;
    const double dx = (c * error_u - b * error_v) / determinant, dy = (a * error_v - b * error_u) / determinant;
    x -= dx, y -= dy;
    if (!(std::fabs(dx) + std::fabs(dy) > 1e-10)) return;
  }
}

inline double solve_fisheye(const float *k, double bent) {
  const double k1 = k[0], k2 = k[1], k3 = k[2], k4 = k[3], pi = 3.14159265358979323846;
  double t = bent < pi ? bent : pi;
  for (int i = 0; i < kNewtonSteps; i++) {
    const double s = t * t, error = t * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))) - bent;
    const double step = error / (1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4))));
    t -= step;
    if (!(std::fabs(step) > 1e-10)) break;
  }
  return t;
}

/* coefficients: 8, or NULL for none. */
inline void lens_direction(int projection, const float *coefficients, float u, float v, float *direction) {
  static const float none[8] = {};
  const float *k = coefficients ? coefficients : none;
  if (projection == NR_PERSPECTIVE && !coefficients) {
    const float length = std::sqrt(u * u + v * v + 1);
    direction[0] = u / length, direction[1] = v / length, direction[2] = 1 / length;
  } else if (projection == NR_PERSPECTIVE) {
    double x, y;
    solve_perspective(k, u, v, x, y);
    const double length = std::sqrt(x * x + y * y + 1);
    direction[0] = (float)(x / length), direction[1] = (float)(y / length), direction[2] = (float)(1 / length);
  } else if (projection == NR_FISHEYE) {
    const double radius = std::hypot((double)u, (double)v), t = solve_fisheye(k, radius);
    const double across = radius > 0 ? std::sin(t) / radius : 0;
    direction[0] = (float)(u * across), direction[1] = (float)(v * across), direction[2] = (float)std::cos(t);
  } else {
    const double across = std::cos((double)v);
    direction[0] = (float)(across * std::sin((double)u));
    direction[1] = (float)std::sin((double)v);
    direction[2] = (float)(across * std::cos((double)u));
  }
}

} // namespace nr
