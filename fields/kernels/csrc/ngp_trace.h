/* Tracing a block of rays through the field: lazy rounds of marching, density and transmittance, and
 * colour for the samples that matter. Training and rendering share it. */
#pragma once
#include <memory>
#include <vector>

#include "march.h"
#include "ngp_field.h"

namespace nr {

constexpr int kBlockRays = 64;
constexpr int kRoundSamples = 16; /* most samples a ray takes in one round */

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
  alignas(64) float rgb[kColorRows * kChunk];
  Buffer<word> input, hidden; /* of the colour network */
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
  float step, lowest_transmittance, lowest_weight;
};

template <class Mode, int F> class BlockTracer {
public:
  typedef typename Mode::P P;
  typedef typename P::word word;
  RayMarcher marcher[kBlockRays];
  float transmittance[kBlockRays], weighted_distance[kBlockRays]; /* sum of weight * t */
  alignas(64) word harmonics[kBlockRays][kHarmonics]; /* of each ray's direction, as panel words */
  Shelf<BlockChunk<Mode>> chunks;
  int64_t evaluated = 0, selected = 0;
  Stopwatch watch;
  Encoder<Mode, F> encode;
  NetworkScratch<P> scratch;
  Buffer<word> panel, hidden, gradient_panel;
  Buffer<float> outputs;

  void start_ray(int ray, const float *origin, const float *direction, float jitter, float step) {
    marcher[ray].start(origin, direction, jitter, step);
    transmittance[ray] = 1;
    weighted_distance[ray] = 0;
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
    int live[kBlockRays], lives = 0;
    for (int r = 0; r < rays; r++) live[lives++] = r;
    for (int round = 0; lives > 0; round++) {
      const int most = round < 2 ? 8 : kRoundSamples;
      watch.start();
      int n = 0, still = 0;
      for (int i = 0; i < lives; i++) {
        const int r = live[i];
        int got = 0;
        for (; got < most; got++) {
          const float t = marcher[r].next(grid);
          if (t < 0) break;
          sample_ray_[n] = r;
          sample_t_[n] = t;
          for (int a = 0; a < 3; a++) sample_[a][n] = marcher[r].origin[a] + t * marcher[r].direction[a];
          n++;
        }
        if (got == most) live[still++] = r;
      }
      watch.lap(kMarch);
      evaluate_round(field, networks, n, limits, kept);
      lives = 0;
      for (int i = 0; i < still; i++)
        if (transmittance[live[i]] >= limits.lowest_transmittance) live[lives++] = live[i];
    }
    for (size_t c = 0; c < chunks.size(); c++) finish_chunk(networks, kept[kept.size() - chunks.size() + c], chunks[c]);
  }

  /* Colours of the selected samples, sigmoid applied. */
  void color(const NgpNetworks<Mode> &networks, const Shelf<KeptChunk<Mode>> &, size_t c, int columns) {
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

private:
  alignas(64) float sample_[3][kBlockRays * kRoundSamples + kChunk];
  float sample_t_[kBlockRays * kRoundSamples];
  int32_t sample_ray_[kBlockRays * kRoundSamples];
  Buffer<word> output_words_;

  void evaluate_round(const nr_ngp &field, const NgpNetworks<Mode> &networks, int n, const TraceLimits &limits,
                      Shelf<KeptChunk<Mode>> &kept) {
    evaluated += n;
    for (int begin = 0; begin < n; begin += kChunk) {
      const int count = n - begin < kChunk ? n - begin : kChunk, columns = round_up(count, 32);
      for (auto &axis : sample_)
        for (int s = count; s < columns; s++) axis[begin + s] = 0.5f;
      density(field, networks, sample_[0] + begin, sample_[1] + begin, sample_[2] + begin, columns);
      alignas(64) float opaque[kChunk], passed[kChunk];
      for (int s = 0; s < columns; s += kLanes) {
        const vfloat thickness = density_activation(loadf(outputs.data() + s)) * limits.step;
        storef(opaque + s, one_minus_exp(thickness));
        storef(passed + s, vexp(-thickness));
      }
      to_panel_rows<P>(outputs.data(), kDensityOutputs, columns, output_words_.reserve(kDensityOutputs * kChunk));
      for (int s = 0; s < count; s++) {
        const int ray = sample_ray_[begin + s];
        float &before = transmittance[ray];
        if (before < limits.lowest_transmittance) continue;
        const float weight = before * opaque[s];
        before *= passed[s];
        weighted_distance[ray] += weight * sample_t_[begin + s];
        if (weight > limits.lowest_weight) keep(networks, begin, s, weight, before, kept);
      }
      watch.lap(kSelect);
    }
  }

  /* Appends one sample's column to the current chunk. */
  void keep(const NgpNetworks<Mode> &networks, int begin, int s, float weight, float after,
            Shelf<KeptChunk<Mode>> &kept) {
    if (chunks.size() == 0 || kept.back().count == kChunk) {
      kept.take().count = 0;
      kept.back().encoding.reserve(networks.encoding_words());
      chunks.take().input.reserve((kDensityOutputs + kHarmonics) / P::per_word * kChunk);
    }
    KeptChunk<Mode> &k = kept.back();
    BlockChunk<Mode> &c = chunks.back();
    const int i = k.count++, ray = sample_ray_[begin + s];
    k.x[i] = sample_[0][begin + s];
    k.y[i] = sample_[1][begin + s];
    k.z[i] = sample_[2][begin + s];
    c.ray[i] = ray;
    c.weight[i] = weight;
    c.after[i] = after;
    c.raw[i] = outputs[s];
    word *to = k.encoding.data() + i;
    const word *from = panel.data() + s;
    for (int row = 0; row < networks.encoding / P::per_word; row++) to[row * kChunk] = from[row * kChunk];
    to = c.input.data() + i;
    from = output_words_.data() + s;
    constexpr int rows = kDensityOutputs / P::per_word;
    for (int row = 0; row < rows; row++) to[row * kChunk] = from[row * kChunk];
    for (int row = 0; row < rows; row++) to[(rows + row) * kChunk] = harmonics[ray][row];
    selected++;
  }

  /* Empty columns up to the next multiple of 32 become zeros: they pass through products unharmed. */
  void finish_chunk(const NgpNetworks<Mode> &networks, KeptChunk<Mode> &k, BlockChunk<Mode> &c) {
    for (int i = k.count; i < round_up(k.count, 32); i++) {
      k.x[i] = k.y[i] = k.z[i] = 0.5f;
      c.ray[i] = 0;
      c.weight[i] = c.after[i] = c.raw[i] = 0;
      for (int row = 0; row < networks.encoding / P::per_word; row++) k.encoding[row * kChunk + i] = 0;
      for (int row = 0; row < (kDensityOutputs + kHarmonics) / P::per_word; row++) c.input[row * kChunk + i] = 0;
    }
  }
};

} // namespace nr
