/* The pixels that a training step draws, and their rays: `PixelSource.draw` of scenes/pixels.py. */
#pragma once
#include "kernels.h"
#include "lens.h"
#include "random.h"

namespace nr {

enum Stream { kBlockKind, kBlock, kColumn, kRow, kRed, kGreen, kBlue, kJitter }; /* as in scenes/pixels.py */

struct Keys {
  uint64_t key[8];
  Keys(uint64_t seed, int64_t step) {
    for (int s = 0; s < 8; s++) key[s] = random_key(seed, (uint64_t)step, s);
  }
  float operator()(Stream stream, int64_t ray) const { return uniform(key[stream], (uint64_t)ray); }
};

struct Pixel {
  bool foreground;
  int64_t image;
  int x, y;
  const uint8_t *bytes;
  float distance; /* model units; 0: unknown */
};

/* Which of the set bits `u` in [0, 1) chooses. */
inline int nth_bit(uint64_t bits, float u) {
  const int count = __builtin_popcountll(bits), wanted = (int)((double)u * count);
  for (int i = 0; i < wanted && i < count - 1; i++) bits &= bits - 1;
  return bits ? __builtin_ctzll(bits) : 0;
}

/* The picture, the column and the row, of a block or of a sighting; all but the colour's place. */
inline Pixel chosen_pixel(const nr_pixels &p, const Keys &random, int64_t ray) {
  const float kind = random(kBlockKind, ray);
  const bool foreground = kind < p.foreground_rate;
  if (kind < p.sighting_rate) {
    int64_t chosen = (int64_t)((double)random(kBlock, ray) * (double)p.sightings);
    if (chosen >= p.sightings) chosen = p.sightings - 1;
    const int32_t *s = p.sighted + chosen * 3;
    return {foreground, s[0], s[1], s[2], nullptr, p.sighted_distance[chosen]};
  }
  const int64_t size = foreground ? p.foreground_blocks : p.background_blocks;
  int64_t block = (int64_t)((double)random(kBlock, ray) * (double)size);
  block = (foreground ? 0 : p.foreground_blocks) + (block < size ? block : size - 1);
  const int32_t *b = p.blocks + block * 3;
  Pixel pixel;
  pixel.foreground = foreground;
  pixel.image = b[0];
  const int width = p.width[b[0]], height = p.height[b[0]];
  if (p.seen) {
    const int place = nth_bit(p.seen[block], random(kColumn, ray));
    pixel.x = 8 * b[2] + (place & 7);
    pixel.y = 8 * b[1] + (place >> 3);
  } else {
    pixel.x = 8 * b[2] + (int)(random(kColumn, ray) * 8);
    pixel.y = 8 * b[1] + (int)(random(kRow, ray) * 8);
  }
  if (pixel.x >= width) pixel.x = width - 1;
  if (pixel.y >= height) pixel.y = height - 1;
  pixel.distance = 0.0f;
  return pixel;
}

inline Pixel draw_pixel(const nr_pixels &p, const Keys &random, int64_t ray) {
  Pixel pixel = chosen_pixel(p, random, ray);
  const int64_t row = (int64_t)pixel.y * p.width[pixel.image];
  const int64_t place = p.offset[pixel.image] + (row + pixel.x) * p.channels;
  pixel.bytes = p.data + place;
  if (p.distance && !(pixel.distance > 0)) pixel.distance = p.distance[place / p.channels];
  return pixel;
}

/* Origin and direction of a pixel's ray in the unit cube. */
inline void unit_ray(const nr_pixels &p, const Pixel &pixel, const nr_ngp &field, float *origin, float *direction) {
  const float *k = p.intrinsics + pixel.image * 4, *m = p.camera_to_world + pixel.image * 12;
  const float x = ((float)pixel.x + 0.5f - k[2]) / k[0], y = ((float)pixel.y + 0.5f - k[3]) / k[1];
  float d[3];
  lens_direction(p.projection, p.distortion ? p.distortion + pixel.image * 8 : nullptr, x, y, d);
  for (int a = 0; a < 3; a++) {
    direction[a] = m[a * 4] * d[0] + m[a * 4 + 1] * d[1] + m[a * 4 + 2] * d[2];
    origin[a] = (m[a * 4 + 3] - field.box_minimum[a]) / field.box_side;
  }
}

} // namespace nr
