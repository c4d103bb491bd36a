/* Tracing a block of rays through the field: lazy rounds of marching, density and transmittance, and
 * colour for the samples that matter. Training and rendering share it. */
#pragma once
#include <memory>
#include <vector>

#include "march.h"
#include "ngp_field.h"

namespace nr {

constexpr int kBlockRays = MarchingRays::kCapacity;
constexpr int kRoundSamples = 16; /* most samples a ray takes in one round */

/* Few at a time while many rays are on their way, since most soon meet something opaque; more for the last
 * ones, so that lanes and panels stay full. */
inline int samples_in_round(int rays) {
  const int share = 2 * kChunk / rays;
  return share < 4 ? 4 : share > kRoundSamples ? kRoundSamples : share;
}

/* Selected samples: what is kept until the gradients are scattered. */
template <class Mode> struct KeptChunk {
  typedef typename Mode::P::word word;
  int count = 0;
  alignas(64) float x[kChunk], y[kChunk], z[kChunk];
  Buffer<word> encoding; /* panel; the backward pass puts its gradient in its place */
};
/* And what is needed only while their block is worked on. */
template <class Mode> struct BlockChunk {
  typedef typename Mode::P::word word;
  alignas(64) int32_t ray[kChunk];
  alignas(64) float weight[kChunk], after[kChunk], raw[kChunk]; /* after: transmittance behind it */
  alignas(64) float length[kChunk]; /* of the interval, times local scale; where space has no end */
  alignas(64) float t[kChunk], place[kChunk]; /* place: see ngp_weights.h */
  alignas(64) float rgb[kColorRows * kChunk];
  Buffer<word> input, hidden; /* of the colour network */
  Buffer<word> density_hidden; /* where gradients are wanted */
};

/* Chunks handed out in order and reused by the next step. */
template <class T> class Shelf {
public:
  T &take() {
    if (used_ == items_.size()) items_.push_back(std::make_unique<T>());
    return *items_[used_++];
  }
  void clear() { used_ = 0; }
  size_t size() const { return used_; }
  T &operator[](size_t i) { return *items_[i]; }
  T &back() { return *items_[used_ - 1]; }

private:
  std::vector<std::unique_ptr<T>> items_;
  size_t used_ = 0;
};

struct TraceLimits {
  Spacing spacing;
  float lowest_transmittance, lowest_weight;
  bool gradients; /* will be asked for */
  const float *crop = nullptr; /* (3, 4), or NULL: samples that it sends out of [-1, 1]^3 are left out */
  bool counted = false;        /* the samples of each ray are wanted */

  bool holds(float x, float y, float z) const {
    for (const float *row = crop; row < crop + 12; row += 4)
      if (!(std::fabs(row[0] * x + row[1] * y + row[2] * z + row[3]) <= 1)) return false;
    return true;
  }
};

template <class Mode> class BlockTracer {
public:
  typedef typename Mode::P P;
  typedef typename P::word word;
  float transmittance[kBlockRays], weighted_distance[kBlockRays]; /* sum of weight * t */
  int32_t samples[kBlockRays]; /* that were seen, if they are counted */
  alignas(64) word harmonics[kBlockRays][kHarmonics]; /* of each ray's direction, as panel words */
  Shelf<BlockChunk<Mode>> chunks;
  int64_t evaluated = 0, selected = 0;
  Stopwatch watch;
  Encoder<Mode> encode;
  NetworkScratch<P> scratch;
  Buffer<word> panel, hidden, gradient_panel;
  Buffer<float> outputs;

  void start_ray(int ray, const float *origin, const float *direction, float jitter, const Occupancy &grid,
                 const Spacing &spacing) {
    marching_.start(ray, origin, direction, jitter, grid, spacing);
    for (int a = 0; a < 3; a++) origin_[a][ray] = origin[a], direction_[a][ray] = direction[a];
    transmittance[ray] = 1;
    weighted_distance[ray] = 0;
    samples[ray] = 0;
    float y[kHarmonics];
    spherical_harmonics(direction[0], direction[1], direction[2], y);
    if constexpr (P::per_word == 1) {
      for (int k = 0; k < kHarmonics; k++) harmonics[ray][k] = y[k];
    } else {
      for (int k = 0; k < kHarmonics; k += 2)
        harmonics[ray][k / 2] = bf16_bits(y[k]) | ((uint32_t)bf16_bits(y[k + 1]) << 16);
    }
  }

  /* Runs all rounds of rays [0, rays); selected samples go to `kept` (positions, encodings) and, chunk
   * for chunk, to `chunks`. */
  void trace(const nr_ngp &field, const NgpNetworks<Mode> &networks, const Occupancy &grid, int rays,
             const TraceLimits &limits, Shelf<KeptChunk<Mode>> &kept) {
    chunks.clear();
    encoding_rows_ = limits.gradients ? networks.encoding_words() / kChunk : 0;
    density_hidden_rows_ = limits.gradients ? networks.density.hidden_words() / kChunk : 0;
    int live[kBlockRays], lives = 0;
    for (int r = 0; r < rays; r++) live[lives++] = r;
    while (lives > 0) {
      watch.start();
      const int n = march_round(grid, live, lives, samples_in_round(lives), limits);
      watch.lap(kMarch);
      evaluate_round(field, networks, grid.nested(), n, limits, kept);
      int still = 0;
      for (int i = 0; i < lives; i++)
        if (inside_[live[i]] && transmittance[live[i]] >= limits.lowest_transmittance) live[still++] = live[i];
      lives = still;
    }
    for (size_t c = 0; c < chunks.size(); c++) finish_chunk(kept[kept.size() - chunks.size() + c], chunks[c]);
  }

  /* Colours of the selected samples, sigmoid applied. */
  void color(const NgpNetworks<Mode> &networks, size_t c, int columns) {
    BlockChunk<Mode> &chunk = chunks[c];
    networks.color.forward(chunk.input.data(), chunk.hidden.reserve(networks.color.hidden_words()), chunk.rgb, columns);
    for (int k = 0; k < 3; k++)
      for (int s = 0; s < columns; s += kLanes)
        storef(chunk.rgb + k * kChunk + s, sigmoid(loadf(chunk.rgb + k * kChunk + s)));
  }

  void density(const nr_ngp &field, const NgpNetworks<Mode> &networks, const float *x, const float *y, const float *z,
               int columns) { /* -> panel, outputs */
    watch.start();
    encode(field, networks.encoding, x, y, z, columns, panel.reserve(networks.encoding_words()));
    watch.lap(kEncode);
    networks.density.forward(panel.data(), hidden.reserve(networks.density.hidden_words()),
                             outputs.reserve(kDensityOutputs * kChunk), columns);
    watch.lap(kDensity);
  }

  /* Of a ray, unit cube; its axes stand kBlockRays apart. */
  const float *origin(int ray) const { return origin_[0] + ray; }
  const float *direction(int ray) const { return direction_[0] + ray; }

private:
  MarchingRays marching_;
  float origin_[3][kBlockRays], direction_[3][kBlockRays];
  bool inside_[kBlockRays];
  alignas(64) float sample_[3][kBlockRays * kRoundSamples + kChunk];
  alignas(64) float sample_t_[kBlockRays * kRoundSamples + kLanes];
  alignas(64) float sample_length_[kBlockRays * kRoundSamples + kChunk]; /* set where space has no end */
  int32_t sample_ray_[kBlockRays * kRoundSamples + kLanes]; /* lanes are loaded whole */
  Buffer<word> output_words_;
  int encoding_rows_ = 0, density_hidden_rows_ = 0; /* to keep of each sample */

  /* At most `most` further samples of each live ray, ray after ray. */
  int march_round(const Occupancy &grid, const int *live, int lives, int most, const TraceLimits &limits) {
    const Spacing &spacing = limits.spacing;
    float t[kBlockRays][kRoundSamples];
    int got[kBlockRays] = {};
    for (int i = 0; i < lives; i++) inside_[live[i]] = true;
    marching_.advance(
        grid, spacing, live, lives,
        [&](int ray, float distance) {
          t[ray][got[ray]++] = distance;
          return got[ray] < most;
        },
        [&](int ray) { inside_[ray] = false; });
    int n = 0;
    for (int i = 0; i < lives; i++)
      for (int ray = live[i], k = 0; k < got[ray]; k++) {
        sample_ray_[n] = ray;
        sample_t_[n] = t[ray][k];
        for (int a = 0; a < 3; a++) sample_[a][n] = origin_[a][ray] + t[ray][k] * direction_[a][ray];
        n += !limits.crop || limits.holds(sample_[0][n], sample_[1][n], sample_[2][n]);
      }
    if (grid.nested()) {
      contract_columns(sample_[0], sample_[1], sample_[2], n, sample_length_);
      for (int s = 0; s < n; s += kLanes)
        storef(sample_length_ + s, spacing.length(loadf(sample_t_ + s)) / loadf(sample_length_ + s));
    }
    return n;
  }

  void evaluate_round(const nr_ngp &field, const NgpNetworks<Mode> &networks, bool nested, int n,
                      const TraceLimits &limits, Shelf<KeptChunk<Mode>> &kept) {
    evaluated += n;
    for (int begin = 0; begin < n; begin += kChunk) {
      const int count = n - begin < kChunk ? n - begin : kChunk, columns = round_up(count, 32);
      for (auto &axis : sample_)
        for (int s = count; s < columns; s++) axis[begin + s] = 0.5f;
      density(field, networks, sample_[0] + begin, sample_[1] + begin, sample_[2] + begin, columns);
      alignas(64) float opaque[kChunk], passed[kChunk];
      for (int s = 0; s < columns; s += kLanes) {
        const vfloat length = nested ? loadf(sample_length_ + begin + s) : splat(limits.spacing.step);
        const vfloat thickness = density_activation(loadf(outputs.data() + s), field.density_shift) * length;
        storef(opaque + s, one_minus_exp(thickness));
        storef(passed + s, vexp(-thickness));
      }
      to_panel_rows<P>(outputs.data(), kDensityOutputs, columns, output_words_.reserve(kDensityOutputs * kChunk));
      alignas(64) float weight[kChunk], after[kChunk];
      for (int s = 0; s < count; s += kLanes) {
        const int lanes = count - s < kLanes ? count - s : kLanes;
        const unsigned heavy = weigh(begin, s, lanes, opaque, passed, limits, weight, after);
        keep(nested, begin, s, heavy, weight, after, kept);
      }
      watch.lap(kSelect);
    }
  }

  /* Weights of samples [s, s + lanes) and what passes behind them; answers which of them matter, a bit each. */
  unsigned weigh(int begin, int s, int lanes, const float *opaque, const float *passed, const TraceLimits &limits,
                 float *weight, float *after) {
    unsigned heavy = 0;
    for (int i = s; i < s + lanes; i++) {
      const int ray = sample_ray_[begin + i];
      float &before = transmittance[ray];
      if (before < limits.lowest_transmittance) continue;
      if (limits.counted) samples[ray]++;
      weight[i] = before * opaque[i];
      after[i] = before *= passed[i];
      weighted_distance[ray] += weight[i] * sample_t_[begin + i];
      heavy |= (unsigned)(weight[i] > limits.lowest_weight) << (i - s);
    }
    return heavy;
  }

  /* Appends the columns s + i, for the bits i of `lanes`, to the current chunk, and to new ones as they fill. */
  void keep(bool nested, int begin, int s, unsigned lanes, const float *weight,
            const float *after, Shelf<KeptChunk<Mode>> &kept) {
    while (lanes) {
      if (chunks.size() == 0 || kept.back().count == kChunk) {
        kept.take().count = 0;
        kept.back().encoding.reserve(encoding_rows_ * kChunk);
        chunks.take().input.reserve((kDensityOutputs + kHarmonics) / P::per_word * kChunk);
        chunks.back().density_hidden.reserve(density_hidden_rows_ * kChunk);
      }
      KeptChunk<Mode> &k = kept.back();
      unsigned now = lanes;
      while (__builtin_popcount(now) > kChunk - k.count) now &= ~(1u << (31 - __builtin_clz(now)));
      if (nested) store_selected(chunks.back().length + k.count, sample_length_ + begin + s, now);
      keep_in(k, chunks.back(), begin, s, now, weight, after);
      lanes &= ~now;
    }
  }

  void keep_in(KeptChunk<Mode> &k, BlockChunk<Mode> &c, int begin, int s, unsigned lanes, const float *weight,
               const float *after) {
    const int i = k.count, count = __builtin_popcount(lanes);
    store_selected(k.x + i, sample_[0] + begin + s, lanes);
    store_selected(k.y + i, sample_[1] + begin + s, lanes);
    store_selected(k.z + i, sample_[2] + begin + s, lanes);
    store_selected(c.ray + i, sample_ray_ + begin + s, lanes);
    store_selected(c.t + i, sample_t_ + begin + s, lanes);
    store_selected(c.weight + i, weight + s, lanes);
    store_selected(c.after + i, after + s, lanes);
    store_selected(c.raw + i, outputs.data() + s, lanes);
    for (int row = 0; row < encoding_rows_; row++)
      store_selected(k.encoding.data() + row * kChunk + i, panel.data() + row * kChunk + s, lanes);
    for (int row = 0; row < density_hidden_rows_; row++)
      store_selected(c.density_hidden.data() + row * kChunk + i, hidden.data() + row * kChunk + s, lanes);
    constexpr int rows = kDensityOutputs / P::per_word;
    word *to = c.input.data() + i;
    for (int row = 0; row < rows; row++)
      store_selected(to + row * kChunk, output_words_.data() + row * kChunk + s, lanes);
    for (int j = 0; j < count; j++)
      for (int row = 0; row < rows; row++) to[(rows + row) * kChunk + j] = harmonics[c.ray[i + j]][row];
    k.count += count;
    selected += count;
  }

  /* Empty columns up to the next multiple of 32 become zeros: they pass through products unharmed. */
  void finish_chunk(KeptChunk<Mode> &k, BlockChunk<Mode> &c) {
    for (int i = k.count; i < round_up(k.count, 32); i++) {
      k.x[i] = k.y[i] = k.z[i] = 0.5f;
      c.ray[i] = 0;
      c.weight[i] = c.after[i] = c.raw[i] = c.length[i] = c.t[i] = 0;
      for (int row = 0; row < encoding_rows_; row++) k.encoding[row * kChunk + i] = 0;
      for (int row = 0; row < (kDensityOutputs + kHarmonics) / P::per_word; row++) c.input[row * kChunk + i] = 0;
      for (int row = 0; row < density_hidden_rows_; row++) c.density_hidden[row * kChunk + i] = 0;
    }
  }
};

} // namespace nr
