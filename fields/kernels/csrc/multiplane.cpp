/* Multiplane images along rays, planes from the front: kLanes rays at a time, which mostly are neighbours and
 * read the same lines of memory. */
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "pool.h"
#include "simd.h"

namespace nr {
namespace {
constexpr int kGroups = 512 / kLanes; /* of rays in a task */
constexpr double kFar = 1 << 22; /* pixels from the origin that float32 still counts in halves */

inline vfloat vfloor(vfloat x) {
  const vfloat whole = to_float(truncate(x));
  return whole > x ? whole - 1.0f : whole;
}

/* One coordinate of kLanes rays: the position before pixel `base` is start + step / z. Whole pixels stand
 * apart, so that a position keeps the precision of its parallax. */
struct Coordinate {
  vfloat start, step;
  vint base;

  void set(int lane, double a, double b) {
    a -= 0.5; /* from middles of pixels */
    const double whole = std::floor(std::min(std::max(a, -kFar), kFar));
    base[lane] = (int32_t)whole;
    start[lane] = (float)(a - whole);
    step[lane] = (float)b;
  }
  /* Of `size` pixels the one to be read together with the next, and the latter's share; false: not within. */
  vint at(float inverse_z, int32_t size, vint *pixel, vfloat *share) const {
    const vfloat there = start + step * inverse_z;
    const vfloat first = -to_float(base), last = first + (float)(size - 1);
    const vfloat inner = vmin(vmax(there, first), last);
    const vfloat whole = vmin(vfloor(inner), vmax(last - 1.0f, first));
    *share = inner - whole;
    /* Again, as numbers: of a position that is none, a pixel is read all the same. */
    *pixel = vmin(vmax(truncate(whole) + base, isplat(0)), isplat(std::max(size - 2, 0)));
    return (there >= first - 0.5f) & (there <= last + 0.5f);
  }
};

struct Stack {
  const float *planes, *z_depth;
  int32_t count, height, width;
  bool alpha, empty;
  float last_interval, lowest_transmittance, epsilon;

  int64_t size() const { return 4 * (int64_t)height * width; }
};

/* kLanes rays on their way, and what they have seen so far. */
struct Group {
  Coordinate u, v;
  vfloat offset, slope;
  float4 rgb[kLanes] = {};
  vfloat opacity{}, distance{}, transmittance = splat(1.0f);
  vint samples{};
};

/* Bilinear reads of one plane: colours to `read`, density or alpha alone to `fourth`. */
inline vfloat read_plane(const Stack &stack, const float *plane, vint x, vint y, vfloat across, vfloat down,
                         float4 *read) {
  const int64_t right = stack.width > 1 ? 4 : 0, below = stack.height > 1 ? 4 * (int64_t)stack.width : 0;
  const vint place = y * stack.width + x;
  vfloat fourth;
  for (int i = 0; i < kLanes; i++) {
    const float *p = plane + 4 * (int64_t)place[i];
    const float4 a = load<float4>(p), b = load<float4>(p + right);
    const float4 c = load<float4>(p + below), d = load<float4>(p + below + right);
    const float4 top = a + (b - a) * across[i], bottom = c + (d - c) * across[i];
    read[i] = top + (bottom - top) * down[i];
    fourth[i] = read[i][3];
  }
  return fourth;
}

inline bool any(vint lanes) {
  int32_t found = 0;
  for (int i = 0; i < kLanes; i++) found |= lanes[i];
  return found != 0;
}

/* The rays meet plane n. False: too little is left of all of them. */
bool pass(const Stack &stack, int32_t n, Group &g) {
  const float z = stack.z_depth[n];
  vint x, y;
  vfloat across, down;
  const vint within = g.u.at(1.0f / z, stack.width, &x, &across) & g.v.at(1.0f / z, stack.height, &y, &down);
  float4 read[kLanes];
  vfloat opacity = read_plane(stack, stack.planes + n * stack.size(), x, y, across, down, read);
  const vfloat distance = g.offset + g.slope * z;
  const vint met = (distance > 0.0f) & (g.transmittance >= stack.lowest_transmittance);
  opacity = (stack.empty ? met & within : met) ? opacity : splat(0.0f);
  if (!stack.alpha) {
    const bool last = n + 1 == stack.count;
    opacity = one_minus_exp(opacity * (last ? splat(stack.last_interval) : g.slope * (stack.z_depth[n + 1] - z)));
  }
  const vfloat weight = g.transmittance * opacity;
  for (int i = 0; i < kLanes; i++) g.rgb[i] += read[i] * weight[i];
  g.opacity += weight;
  g.distance += weight * distance;
  g.samples -= met & within;
  g.transmittance *= 1.0f - opacity + stack.epsilon;
  const vint goes_on = g.transmittance >= stack.lowest_transmittance;
  g.transmittance = goes_on ? g.transmittance : splat(-1.0f); /* for good: an epsilon makes no new ray */
  return any(goes_on);
}

/* Plane by plane for all of the groups: planes lie so far apart in memory that many of them at once would
 * drive each other out of the caches. */
void march(const Stack &stack, Group *groups, int count) {
  int alive[kGroups], left = count;
  for (int i = 0; i < count; i++) alive[i] = i;
  for (int32_t n = 0; n < stack.count && left; n++) {
    int kept = 0;
    for (int i = 0; i < left; i++)
      if (pass(stack, n, groups[alive[i]])) alive[kept++] = alive[i];
    left = kept;
  }
}
} // namespace
} // namespace nr

int nr_multiplane(const float *planes, const float *z_depth, int32_t count, int32_t height, int32_t width,
                  const double *lines, int64_t rays, int32_t alpha, int32_t empty, float last_interval,
                  float lowest_transmittance, float epsilon, float *rgb, float *opacity, float *distance,
                  int32_t *samples, int threads) {
  using namespace nr;
  if (count < 1 || height < 1 || width < 1 || (int64_t)height * width > 1 << 30) return NR_BAD_ARGUMENT;
  const Stack stack = {planes,     z_depth,    count,         height,               width,
                       alpha != 0, empty != 0, last_interval, lowest_transmittance, epsilon};
  parallel_blocks(rays, kGroups * kLanes, threads, [&](int64_t begin, int64_t end, int) {
    Group groups[kGroups];
    const int used = (int)((end - begin + kLanes - 1) / kLanes);
    for (int i = 0; i < used * kLanes; i++) {
      const double *line = lines + 6 * std::min(begin + i, end - 1);
      Group &g = groups[i / kLanes];
      g.u.set(i % kLanes, line[0], line[1]);
      g.v.set(i % kLanes, line[2], line[3]);
      g.offset[i % kLanes] = (float)line[4];
      g.slope[i % kLanes] = (float)line[5];
    }
    march(stack, groups, used);
    for (int64_t ray = begin; ray < end; ray++) {
      const Group &g = groups[(ray - begin) / kLanes];
      const int lane = (int)((ray - begin) % kLanes);
      for (int c = 0; c < 3; c++) rgb[3 * ray + c] = g.rgb[lane][c];
      opacity[ray] = g.opacity[lane];
      distance[ray] = g.distance[lane];
      samples[ray] = g.samples[lane];
    }
  });
  return NR_OK;
}
