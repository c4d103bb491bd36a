/* Rendering and densities of a trained field. */
#include "ngp_workspace.h"
#include "pool.h"

namespace nr {
namespace {

struct Picture {
  float *rgb, *opacity, *distance;
  int32_t *samples; /* or NULL */
};

template <class Mode>
void render_block(const nr_ngp &field, const NgpNetworks<Mode> &networks, const Occupancy &grid, const float *origins,
                  const float *directions, int rays, const TraceLimits &limits, Picture out,
                  BlockTracer<Mode> &tracer, Shelf<KeptChunk<Mode>> &kept) {
  configure_tiles();
  kept.clear();
  for (int r = 0; r < rays; r++) {
    float origin[3];
    for (int a = 0; a < 3; a++) origin[a] = (origins[r * 3 + a] - field.box_minimum[a]) / field.box_side;
    tracer.start_ray(r, origin, directions + r * 3, 0.5f, grid, limits.spacing);
    for (int k = 0; k < 3; k++) out.rgb[r * 3 + k] = 0;
  }
  tracer.trace(field, networks, grid, rays, limits, kept);
  for (size_t c = 0; c < tracer.chunks.size(); c++) {
    BlockChunk<Mode> &chunk = tracer.chunks[c];
    tracer.color(networks, c, round_up(kept[c].count, 32));
    for (int s = 0; s < kept[c].count; s++) {
      const int r = chunk.ray[s];
      for (int k = 0; k < 3; k++) out.rgb[r * 3 + k] += chunk.weight[s] * chunk.rgb[k * kChunk + s];
    }
  }
  for (int r = 0; r < rays; r++) {
    out.opacity[r] = 1 - tracer.transmittance[r];
    out.distance[r] = tracer.weighted_distance[r] * field.box_side;
    if (out.samples) out.samples[r] = tracer.samples[r];
  }
}

template <class Mode>
int render(const nr_ngp &field, const float *origins, const float *directions, int64_t rays, const TraceLimits &limits,
           Picture out, int64_t *evaluated, int64_t *selected, Workspace &workspace, int threads) {
  const NgpNetworks<Mode> networks(field);
  const Occupancy grid(field.bits, field.resolution, field.levels);
  auto &tracers = workspace.tracers<Mode>(threads, false);
  std::vector<Shelf<KeptChunk<Mode>>> kept(threads);
  parallel_blocks(rays, kBlockRays, threads, [&](int64_t begin, int64_t end, int worker) {
    render_block<Mode>(field, networks, grid, origins + begin * 3, directions + begin * 3, (int)(end - begin), limits,
                       {out.rgb + begin * 3, out.opacity + begin, out.distance + begin,
                        out.samples ? out.samples + begin : nullptr},
                       *tracers[worker], kept[worker]);
  });
  workspace.report<Mode>(*evaluated, *selected, nullptr);
  return NR_OK;
}

template <class Mode>
int density(const nr_ngp &field, const float *points, int64_t n, float *out, Workspace &workspace, int threads) {
  const NgpNetworks<Mode> networks(field);
  auto &tracers = workspace.tracers<Mode>(threads, false);
  parallel_blocks(n, kChunk, threads, [&](int64_t begin, int64_t end, int worker) {
    configure_tiles();
    alignas(64) float p[3][kChunk], reach[kChunk];
    bool inside[kChunk];
    const int count = (int)(end - begin), columns = round_up(count, 32);
    for (int s = 0; s < columns; s++) {
      inside[s] = s < count;
      reach[s] = 1;
      for (int a = 0; a < 3; a++) {
        p[a][s] = s < count ? (points[(begin + s) * 3 + a] - field.box_minimum[a]) / field.box_side : 0.5f;
        if (field.levels == 1 && !(p[a][s] >= 0 && p[a][s] <= 1)) inside[s] = false;
      }
    }
    if (field.levels > 1) contract_columns(p[0], p[1], p[2], columns, reach);
    auto &tracer = *tracers[worker];
    tracer.density(field, networks, p[0], p[1], p[2], columns);
    alignas(64) float value[kChunk];
    for (int s = 0; s < columns; s += kLanes)
      storef(value + s, density_activation(loadf(tracer.outputs.data() + s), field.density_shift));
    for (int s = 0; s < count; s++) out[begin + s] = inside[s] ? value[s] / (field.box_side * reach[s]) : 0.0f;
  });
  return NR_OK;
}

} // namespace
} // namespace nr

void *nr_ngp_workspace_create(void) { return new (std::nothrow) nr::Workspace; }
void nr_ngp_workspace_destroy(void *workspace) { delete (nr::Workspace *)workspace; }

const char *nr_ngp_stage_name(int stage) {
  static const char *names[nr::kStages] = {"rays",  "march",     "encode",   "density", "select",
                                           "color", "composite", "backward", "scatter", "adam"};
  return stage >= 0 && stage < nr::kStages ? names[stage] : nullptr;
}

int nr_ngp_render(const nr_ngp *field, const float *origins, const float *directions, int64_t rays, float march_step,
                  float march_growth, float march_near, float lowest_transmittance, float lowest_weight,
                  const float *crop, float *rgb, float *opacity, float *distance, int32_t *samples, int64_t *evaluated,
                  int64_t *selected, void *workspace, int threads) try {
  const nr::TraceLimits limits{{march_step, march_growth, march_near}, lowest_transmittance, lowest_weight,
                               false, crop, samples != nullptr};
  if (!nr::valid(*field) || !nr::valid(limits.spacing)) return NR_BAD_ARGUMENT;
  const std::lock_guard<std::mutex> alone(((nr::Workspace *)workspace)->busy);
  return nr::dispatch(*field, [&](auto mode) {
    return nr::render<decltype(mode)>(*field, origins, directions, rays, limits, {rgb, opacity, distance, samples},
                                      evaluated, selected, *(nr::Workspace *)workspace, threads);
  });
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}

int nr_ngp_density(const nr_ngp *field, const float *points, int64_t n, float *density, void *workspace,
                   int threads) try {
  if (!nr::valid(*field)) return NR_BAD_ARGUMENT;
  const std::lock_guard<std::mutex> alone(((nr::Workspace *)workspace)->busy);
  return nr::dispatch(*field, [&](auto mode) {
    return nr::density<decltype(mode)>(*field, points, n, density, *(nr::Workspace *)workspace, threads);
  });
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}

int nr_table_to_half(const float *table, int64_t n, uint16_t *half, int threads) {
#if defined(__F16C__)
  nr::parallel_blocks(n, 1 << 18, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) half[i] = nr::to_half(table[i]);
  });
  return NR_OK;
#else
  (void)table, (void)n, (void)half, (void)threads;
  return NR_UNSUPPORTED;
#endif
}
