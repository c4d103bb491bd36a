/* What the fused functions keep between calls. */
#pragma once
#include <algorithm>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#include "ngp_trace.h"

namespace nr {

constexpr int kGroups = 32; /* fixed shares of a batch: sums never depend on the number of threads */

/* One share of a batch: its selected samples and its part of the networks' gradients. */
template <class Mode> struct Group {
  typedef typename Mode::P::word word;
  Shelf<KeptChunk<Mode>> kept;
  Buffer<float> density_gradient, color_gradient;
  void clear(const NgpNetworks<Mode> &networks) {
    kept.clear();
    density_gradient.zeroed(networks.density.padded_count);
    color_gradient.zeroed(networks.color.padded_count);
  }
  template <class Tracer> word *scratch_panel(Tracer &tracer) {
    return tracer.gradient_panel.reserve((size_t)kDensityOutputs * kChunk);
  }
};

/* Cells that an update of the occupancy grid looks at, and what it found there. */
struct OccupancyVisits {
  std::vector<int64_t> cells, candidates;
  std::vector<float> found;
};

struct Workspace {
  std::mutex busy; /* one call at a time: threads that share a field take turns */
  template <class Mode> using Tracers = std::vector<std::unique_ptr<BlockTracer<Mode>>>;
  template <class Mode> struct OfMode {
    Tracers<Mode> tracers;
    std::vector<Group<Mode>> groups;
  };
  OfMode<Full> full;
#if NR_BF16
  OfMode<Half> half;
#endif

  OccupancyVisits visits;
  std::vector<Buffer<float>> level_gradients; /* one level's, for each thread; all zeros between steps */
  void prepare_level_gradients(const nr_grid &grid, int threads) {
    size_t longest = 0;
    for (int l = 0; l < grid.levels; l++) longest = std::max(longest, (size_t)(grid.offset[l + 1] - grid.offset[l]));
    longest *= (size_t)grid.features;
    if ((int)level_gradients.size() < threads) level_gradients.resize(threads);
    for (auto &gradient : level_gradients)
      if (gradient.size() < longest) gradient.zeroed(longest);
  }

  template <class Mode> OfMode<Mode> &of() {
#if NR_BF16
    if constexpr (std::is_same_v<Mode, Half>) return half;
#endif
    if constexpr (std::is_same_v<Mode, Full>) return full;
  }
  /* One for each thread, counters at zero. */
  template <class Mode> Tracers<Mode> &tracers(int threads, bool profile) {
    auto &list = of<Mode>().tracers;
    while ((int)list.size() < threads) list.push_back(std::make_unique<BlockTracer<Mode>>());
    for (auto &t : list) {
      t->evaluated = t->selected = 0;
      t->watch = Stopwatch();
      t->watch.on = profile;
    }
    return list;
  }
  template <class Mode> std::vector<Group<Mode>> &groups() {
    auto &g = of<Mode>().groups;
    if (g.empty()) g = std::vector<Group<Mode>>(kGroups);
    return g;
  }
  template <class Mode> void report(int64_t &evaluated, int64_t &selected, double *seconds) {
    evaluated = selected = 0;
    for (int i = 0; seconds && i < kStages; i++) seconds[i] = 0;
    for (auto &t : of<Mode>().tracers) {
      evaluated += t->evaluated;
      selected += t->selected;
      for (int i = 0; seconds && i < kStages; i++) seconds[i] += t->watch.seconds[i];
    }
  }
};

/* Calls run(mode) for the field's precision. */
template <class Run> int dispatch(const nr_ngp &field, const Run &run) {
  if (!field.bfloat16) return run(Full());
#if NR_BF16
  return run(Half());
#else
  return NR_UNSUPPORTED;
#endif
}

} // namespace nr
