/* The fused training step: fixed groups of rays forward and backward, then the table level by level. */
#include "adam.h"
#include "ngp_ray_gradient.h"
#include "ngp_rays.h"
#include "ngp_weights.h"
#include "ngp_workspace.h"
#include "pool.h"

namespace nr {
namespace {

constexpr int kFewestRays = 48; /* of a block: fewer would leave panels half empty */

struct Sums {
  double loss = 0, squared = 0, terms = 0;
};

/* One block of rays: draw, trace, composite and differentiate. */
template <class Mode> class BlockTrainer {
  typedef typename Mode::P P;
  typedef typename P::word word;

public:
  BlockTrainer(const nr_ngp &field, const nr_pixels &pixels, const nr_ngp_step &step, const Keys &random,
               const NgpNetworks<Mode> &networks, const Occupancy &grid)
      : field_(field), pixels_(pixels), step_(step), random_(random), networks_(networks), grid_(grid),
        spacing_{step.march_step, step.march_growth, step.march_near},
        terms_(spacing_, step.distortion / step.rays, step.depth / step.rays, step.opacity / step.rays),
        told_(step.rays_told), rays_move_(told_ && told_->origin) {}

  void run(int64_t first_ray, int rays, BlockTracer<Mode> &tracer, Group<Mode> &group, Sums &sums) {
    tracer.watch.start();
    draw(first_ray, rays, tracer);
    tracer.watch.lap(kRays);
    tracer.trace(field_, networks_, grid_, rays, {spacing_, step_.lowest_transmittance, step_.lowest_weight, true},
                 group.kept);
    composite(rays, tracer, group);
    differentiate(first_ray, rays, tracer, sums);
    backward(tracer, group);
    if (rays_move_)
      for (int r = 0; r < rays; r++)
        ray_gradients_.finish(r, tracer, field_.box_side, told_->origin + (first_ray + r) * 3,
                              told_->direction + (first_ray + r) * 3);
  }

private:
  const nr_ngp &field_;
  const nr_pixels &pixels_;
  const nr_ngp_step &step_;
  const Keys &random_;
  const NgpNetworks<Mode> &networks_;
  const Occupancy &grid_;
  const Spacing spacing_;
  WeightTerms<kBlockRays> terms_;
  const nr_step_rays *told_;
  const bool rays_move_;
  RayGradients<Mode> ray_gradients_;
  Pixel pixel_[kBlockRays];
  float target_[kBlockRays][3], background_[kBlockRays][3];
  float weight_[kBlockRays];
  float color_[kBlockRays][3], gradient_[kBlockRays][3]; /* composited; of the loss by it */
  float pull_[kBlockRays]; /* what the samples behind pull at weights, beyond their colour */

  void draw(int64_t first_ray, int rays, BlockTracer<Mode> &tracer) {
    for (int r = 0; r < rays; r++) {
      pixel_[r] = draw_pixel(pixels_, random_, first_ray + r);
      __builtin_prefetch(pixel_[r].bytes);
    }
    for (int r = 0; r < rays; r++) {
      float origin[3], direction[3];
      const Pixel &pixel = pixel_[r];
      unit_ray(pixels_, pixel, field_, origin, direction);
      tracer.start_ray(r, origin, direction, random_(kJitter, first_ray + r), grid_, spacing_);
      terms_.start(r, pixel.distance / field_.box_side);
      weight_[r] = pixel.foreground ? 1.0f : step_.background_weight;
      const float alpha = pixels_.channels == 4 ? pixel.bytes[3] / 255.0f : 1.0f;
      for (int c = 0; c < 3; c++) {
        const float b = step_.random_background ? random_((Stream)(kRed + c), first_ray + r) : step_.background[c];
        background_[r][c] = b;
        target_[r][c] = pixel.bytes[c] / 255.0f * alpha + b * (1 - alpha);
      }
    }
  }

  void composite(int rays, BlockTracer<Mode> &tracer, Group<Mode> &group) {
    std::memset(color_, 0, sizeof color_);
    for (size_t c = 0; c < tracer.chunks.size(); c++) {
      tracer.watch.start();
      BlockChunk<Mode> &chunk = tracer.chunks[c];
      const int count = kept(group, tracer, c).count;
      tracer.color(networks_, c, round_up(count, 32));
      tracer.watch.lap(kColor);
      for (int s = 0; s < count; s++)
        for (int k = 0; k < 3; k++) color_[chunk.ray[s]][k] += chunk.weight[s] * chunk.rgb[k * kChunk + s];
      if (terms_.wanted()) {
        terms_.places(chunk.t, count, chunk.place);
        for (int s = 0; s < count; s++) terms_.add(chunk.ray[s], chunk.weight[s], chunk.t[s], chunk.place[s]);
      }
      tracer.watch.lap(kComposite);
    }
    for (int r = 0; r < rays; r++)
      for (int k = 0; k < 3; k++) color_[r][k] += tracer.transmittance[r] * background_[r][k];
  }

  /* Losses of the rays, and their gradients by the composited colours. */
  void differentiate(int64_t first_ray, int rays, BlockTracer<Mode> &tracer, Sums &sums) {
    tracer.watch.start();
    const float delta = step_.huber_delta;
    for (int r = 0; r < rays; r++) {
      const float *look = pixels_.appearance ? pixels_.appearance + pixel_[r].image * 12 : nullptr, *c = color_[r];
      float gradient[3];
      for (int k = 0; k < 3; k++) {
        const float *a = look + 4 * k, shown = look ? a[0] * c[0] + a[1] * c[1] + a[2] * c[2] + a[3] : c[k];
        const float d = shown - target_[r][k], size = std::fabs(d);
        sums.loss += weight_[r] * (size < delta ? 0.5 * d * d / delta : size - 0.5 * delta);
        sums.squared += d * d;
        gradient[k] = weight_[r] * std::fmin(std::fmax(d / delta, -1.0f), 1.0f) / (3.0f * step_.rays);
        if (d != d) gradient[k] = d; /* fmin and fmax lose a NaN */
      }
      for (int k = 0; k < 3; k++)
        gradient_[r][k] = look ? look[k] * gradient[0] + look[4 + k] * gradient[1] + look[8 + k] * gradient[2]
                               : gradient[k];
      sums.terms += terms_.loss(r);
      pull_[r] = terms_.turn(r);
      if (told_) tell(first_ray + r, pixel_[r], c, gradient);
    }
    tracer.watch.lap(kComposite);
  }

  void tell(int64_t ray, const Pixel &pixel, const float *color, const float *gradient) const {
    const int32_t place[3] = {(int32_t)pixel.image, pixel.x, pixel.y};
    std::memcpy(told_->pixel + ray * 3, place, sizeof place);
    std::memcpy(told_->color + ray * 3, color, 3 * sizeof(float));
    std::memcpy(told_->color_gradient + ray * 3, gradient, 3 * sizeof(float));
  }

  static KeptChunk<Mode> &kept(Group<Mode> &group, BlockTracer<Mode> &tracer, size_t c) {
    return group.kept[group.kept.size() - tracer.chunks.size() + c];
  }

  void backward(BlockTracer<Mode> &tracer, Group<Mode> &group) {
    float front[kBlockRays][3] = {}; /* colour of the samples passed so far */
    alignas(64) float grad_rgb[kColorRows * kChunk], grad_raw[kChunk];
    alignas(64) float grad_inputs[(kDensityOutputs + kHarmonics) * kChunk]; /* of the colour network */
    const int wanted_inputs = kDensityOutputs + (rays_move_ ? kHarmonics : 0);
    word *panel = group.scratch_panel(tracer);
    if (rays_move_) ray_gradients_.clear();
    for (size_t c = 0; c < tracer.chunks.size(); c++) {
      tracer.watch.start();
      BlockChunk<Mode> &chunk = tracer.chunks[c];
      KeptChunk<Mode> &k = kept(group, tracer, c);
      const int columns = round_up(k.count, 32);
      sample_gradients(chunk, k.count, columns, front, grad_rgb, grad_raw);
      tracer.watch.lap(kComposite);
      to_panel_rows<P>(grad_rgb, kColorRows, columns, panel);
      networks_.color.backward(chunk.input.data(), chunk.hidden.data(), panel, group.color_gradient.data(), columns,
                               wanted_inputs, ToFloat{grad_inputs, kChunk}, tracer.scratch);
      for (int s = 0; s < columns; s += kLanes)
        storef(grad_inputs + s, loadf(grad_inputs + s) + loadf(grad_raw + s));
      to_panel_rows<P>(grad_inputs, kDensityOutputs, columns, panel);
      networks_.density.backward(k.encoding.data(), chunk.density_hidden.data(), panel,
                                 group.density_gradient.data(), columns, networks_.encoding,
                                 to_panel<P>(k.encoding.data(), kChunk, Keep{}), tracer.scratch);
      if (rays_move_) {
        ray_gradients_.add_harmonics(chunk, k.count, grad_inputs + kDensityOutputs * kChunk);
        ray_gradients_.add_points(field_, tracer, chunk, k, step_.active_levels);
      }
      tracer.watch.lap(kBackward);
    }
  }

  /* Of the colour network's outputs and, through density, of the first density output. With g the pixel's
   * gradient: d density_i = step (T_{i+1} g.c_i - g.behind_i), behind = pixel - what lies in front. What pulls at
   * weights directly joins g.c_i. */
  void sample_gradients(const BlockChunk<Mode> &chunk, int count, int columns, float (*front)[3], float *grad_rgb,
                        float *grad_raw) {
    alignas(64) float thickness_gradient[kChunk];
    for (int s = 0; s < count; s++) {
      const int r = chunk.ray[s];
      float along = 0, behind = 0;
      for (int k = 0; k < 3; k++) {
        const float c = chunk.rgb[k * kChunk + s], g = gradient_[r][k];
        front[r][k] += chunk.weight[s] * c;
        along += g * c;
        behind += g * (color_[r][k] - front[r][k]);
        grad_rgb[k * kChunk + s] = chunk.weight[s] * g * c * (1 - c);
      }
      if (terms_.wanted()) {
        const float pull = terms_.gradient(r, chunk.weight[s], chunk.t[s], chunk.place[s]);
        along += pull;
        behind += pull_[r] -= chunk.weight[s] * pull;
      }
      thickness_gradient[s] = chunk.after[s] * along - behind;
    }
    for (int s = count; s < columns; s++)
      thickness_gradient[s] = grad_rgb[s] = grad_rgb[kChunk + s] = grad_rgb[2 * kChunk + s] = 0;
    for (int s = 0; s < columns; s += kLanes) {
      const vfloat length = grid_.nested() ? loadf(chunk.length + s) : splat(step_.march_step);
      storef(grad_rgb + 3 * kChunk + s, splat(0.0f));
      storef(grad_raw + s, loadf(thickness_gradient + s) * length *
                               density_gradient(loadf(chunk.raw + s), field_.density_shift));
    }
    if (grid_.nested() && step_.fade > 0) fade_near(chunk, columns, grad_rgb, grad_raw);
  }

  /* Near a camera its pixels crowd a small space, which the others do not see: their pull is weakened there
   * (arXiv:2305.02756). */
  void fade_near(const BlockChunk<Mode> &chunk, int columns, float *grad_rgb, float *grad_raw) const {
    for (int s = 0; s < columns; s += kLanes) {
      const vfloat share = vmin(loadf(chunk.t + s) / step_.fade, splat(1.0f)), scale = share * share;
      storef(grad_raw + s, loadf(grad_raw + s) * scale);
      for (int k = 0; k < 3; k++) storef(grad_rgb + k * kChunk + s, loadf(grad_rgb + k * kChunk + s) * scale);
    }
  }
};

/* What scattering a chunk's gradients at one level will read. */
template <class Mode, int F> void prefetch_level(const KeptChunk<Mode> &k, int l) {
  constexpr int words = F / Mode::P::per_word * kChunk;
  const auto *panel = k.encoding.data() + l * words;
  for (int i = 0; i < words; i += 16) __builtin_prefetch(panel + i, 0, 2);
  for (int s = 0; s < kChunk; s += 16) {
    __builtin_prefetch(k.x + s, 0, 2);
    __builtin_prefetch(k.y + s, 0, 2);
    __builtin_prefetch(k.z + s, 0, 2);
  }
}

template <class Mode, int F>
void train_level(const nr_ngp &field, nr_ngp_step &step, std::vector<Group<Mode>> &groups, int l, int shard, int shards,
                 float *scratch, Stopwatch &watch) {
  const GridLevel level = grid_level(field.grid, l);
  const uint32_t first = (uint32_t)((uint64_t)level.size * shard / shards),
                 last = (uint32_t)((uint64_t)level.size * (shard + 1) / shards);
  /* One level's gradient at a time, in memory that stays in the cache; all zeros before and after. */
  float *gradient = step.gradients_only ? step.table.gradient + level.offset * F : scratch;
  Corners corners[kAhead + 1];
  alignas(64) float rows[kGroup * F];
  watch.start();
  for (auto &group : groups)
    for (size_t c = 0; c < group.kept.size(); c++) {
      KeptChunk<Mode> &k = group.kept[c];
      if (c + 1 < group.kept.size()) prefetch_level<Mode, F>(group.kept[c + 1], l);
      const auto *panel = k.encoding.data() + l * F / Mode::P::per_word * kChunk;
      for (int s = 0; s < k.count + kAhead * kGroup; s += kGroup) {
        if (s < k.count) {
          Corners &coming = corners[s / kGroup % (kAhead + 1)];
          find_corners(level, k.x + s, k.y + s, k.z + s, coming);
          if (!level.dense) prefetch<F>(coming, gradient);
        }
        const int now = s - kAhead * kGroup;
        if (now < 0) continue;
        const int count = k.count - now < kGroup ? k.count - now : kGroup;
        level_rows<F>(panel + now, rows);
        const Corners &at = corners[now / kGroup % (kAhead + 1)];
        if (shards == 1)
          scatter<F, true>(at, rows, F, count, gradient, first, last);
        else
          scatter<F, false>(at, rows, F, count, gradient, first, last);
      }
    }
  watch.lap(kScatter);
  if (step.gradients_only) return;
  const AdamStep adam(step.learning_rate, step.beta1, step.beta2, step.epsilon, step.step + 1);
  const int64_t from = level.offset * F;
  half_bits *half = Mode::P::per_word == 2 ? field.table_half + from : nullptr;
  adam_range<F>(field.table + from, step.table.first_moment + from, step.table.second_moment + from, gradient, half,
                (int64_t)first * F, (int64_t)last * F, adam);
  watch.lap(kAdam);
}

/* Dense Adam with an L2 term, for the networks. */
void train_weights(nr_adam_state &state, int64_t n, const nr_ngp_step &step) {
  const AdamStep adam(step.learning_rate, step.beta1, step.beta2, step.epsilon, step.step + 1);
  for (int64_t i = 0; i < n; i++)
    adam.update(state.value[i], state.first_moment[i], state.second_moment[i],
                state.gradient[i] + step.weight_decay * state.value[i]);
}

/* Sums the groups' gradients in their order, then updates both networks. */
template <class Mode>
void train_networks(const NgpNetworks<Mode> &networks, nr_ngp_step &step, std::vector<Group<Mode>> &groups) {
  auto train = [&](const Network<typename Mode::P> &network, Buffer<float> Group<Mode>::*gradient, nr_adam_state &state) {
    float *sum = (groups[0].*gradient).data();
    for (size_t g = 1; g < groups.size(); g++)
      for (int64_t i = 0; i < network.padded_count; i++) sum[i] += (groups[g].*gradient)[i];
    network.unpad(sum, state.gradient);
    const auto &last = network.layers.back();
    if (!step.gradients_only)
      train_weights(state, last.weight + (int64_t)last.weight_rows * last.weight_columns, step);
  };
  train(networks.density, &Group<Mode>::density_gradient, step.density_weights);
  train(networks.color, &Group<Mode>::color_gradient, step.color_weights);
}

/* Of a block: fewer in small batches, so that there are blocks for every group. */
inline int64_t block_rays(int64_t rays) {
  const int64_t share = (rays / kGroups + 15) / 16 * 16;
  return share < kFewestRays ? kFewestRays : share > kBlockRays ? kBlockRays : share;
}

template <class Mode>
int train(const nr_ngp &field, const nr_pixels &pixels, nr_ngp_step &step, Workspace &workspace, int threads) {
  const NgpNetworks<Mode> networks(field);
  const Occupancy grid(field.bits, field.resolution, field.levels);
  const Keys random(step.seed, step.step);
  auto &tracers = workspace.tracers<Mode>(threads, step.profile);
  auto &groups = workspace.groups<Mode>();
  std::vector<Sums> sums(groups.size());
  const int64_t block = block_rays(step.rays), blocks = (step.rays + block - 1) / block;
  const int64_t count = (int64_t)groups.size();
  parallel(count, threads, [&](int64_t g, int worker) {
    configure_tiles();
    groups[g].clear(networks);
    BlockTrainer<Mode> trainer(field, pixels, step, random, networks, grid);
    for (int64_t b = blocks * g / count; b < blocks * (g + 1) / count; b++) {
      const int64_t first = b * block, rays = step.rays - first < block ? step.rays - first : block;
      trainer.run(first, (int)rays, *tracers[worker], groups[g], sums[g]);
    }
  });
  const int levels = step.active_levels, shards = shards_per_level(levels, threads);
  workspace.prepare_level_gradients(field.grid, threads);
  parallel(1 + (int64_t)levels * shards, threads, [&](int64_t task, int worker) {
    const int64_t i = (int64_t)levels * shards - 1 - task; /* fine levels first: they take longest */
    if (i < 0) return train_networks(networks, step, groups);
    with_features(field.grid, [&](auto features) {
      train_level<Mode, features.value>(field, step, groups, (int)(i / shards), (int)(i % shards), shards,
                                        workspace.level_gradients[worker].data(), tracers[worker]->watch);
    });
  });
  step.loss = step.squared_error = 0;
  for (auto &s : sums) step.loss += s.loss, step.squared_error += s.squared;
  step.loss /= 3.0 * step.rays;
  for (auto &s : sums) step.loss += s.terms;
  step.squared_error /= 3.0 * step.rays;
  workspace.report<Mode>(step.evaluated, step.selected, step.stage_seconds);
  return NR_OK;
}

} // namespace
} // namespace nr

int nr_ngp_train_step(const nr_ngp *field, const nr_pixels *pixels, nr_ngp_step *step, void *workspace,
                      int threads) try {
  const nr::Spacing spacing{step->march_step, step->march_growth, step->march_near};
  if (!nr::valid(*field) || !nr::valid(spacing) || step->rays < 1 || step->active_levels < 1 ||
      step->active_levels > field->grid.levels)
    return NR_BAD_ARGUMENT;
  const std::lock_guard<std::mutex> alone(((nr::Workspace *)workspace)->busy);
  return nr::dispatch(*field, [&](auto mode) {
    return nr::train<decltype(mode)>(*field, *pixels, *step, *(nr::Workspace *)workspace, threads);
  });
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}
