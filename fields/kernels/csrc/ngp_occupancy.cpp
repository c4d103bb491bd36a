/* The occupancy grid's update, with the cells and points that render/samplers/occupancy.py chooses. */
#include <algorithm>

#include "ngp_workspace.h"
#include "pool.h"
#include "random.h"

namespace nr {
namespace {

enum Stream { kPick = 16, kJitterX = 17 }; /* kJitterX + axis */

bool occupied(const uint64_t *bits, int64_t r, int64_t x, int64_t y, int64_t z) {
  const uint64_t word = bits[x / 4 + r / 4 * (y / 4 + r / 4 * (z / 4))];
  return word >> ((x & 3) + 4 * (y & 3) + 16 * (z & 3)) & 1;
}

/* Numbers of the occupied cells, ascending. */
std::vector<int64_t> occupied_cells(const uint64_t *bits, int64_t r, int threads) {
  std::vector<std::vector<int64_t>> slabs(r);
  parallel(r, threads, [&](int64_t z, int) {
    for (int64_t y = 0; y < r; y++)
      for (int64_t x = 0; x < r; x++)
        if (occupied(bits, r, x, y, z)) slabs[z].push_back((z * r + y) * r + x);
  });
  std::vector<int64_t> cells;
  for (auto &slab : slabs) cells.insert(cells.end(), slab.begin(), slab.end());
  return cells;
}

std::vector<int64_t> cells_to_visit(const nr_occupancy_update &u, int64_t r, int threads) {
  std::vector<int64_t> visits;
  const int64_t stride = u.updates == 0 ? 1 : u.stride;
  for (int64_t cell = u.updates == 0 ? 0 : u.updates % stride; cell < r * r * r; cell += stride) visits.push_back(cell);
  if (u.updates == 0) return visits;
  const std::vector<int64_t> candidates = occupied_cells(u.bits, r, threads);
  const uint64_t key = random_key(u.seed, (uint64_t)u.step, kPick);
  const int64_t in_turn = (int64_t)visits.size();
  for (int64_t i = 0; i < in_turn && !candidates.empty(); i++)
    visits.push_back(candidates[(int64_t)((double)uniform(key, (uint64_t)i) * (double)candidates.size())]);
  return visits;
}

template <class Mode, int F>
int update(const nr_ngp &field, const nr_occupancy_update &u, Workspace &workspace, int threads) {
  const NgpNetworks<Mode> networks(field);
  const int64_t r = field.resolution;
  const std::vector<int64_t> visits = cells_to_visit(u, r, threads);
  std::vector<float> found(visits.size());
  auto &tracers = workspace.tracers<Mode, F>(threads, false);
  uint64_t key[3];
  for (int a = 0; a < 3; a++) key[a] = random_key(u.seed, (uint64_t)u.step, kJitterX + a);
  parallel_blocks((int64_t)visits.size(), kChunk, threads, [&](int64_t begin, int64_t end, int worker) {
    configure_tiles();
    alignas(64) float p[3][kChunk], value[kChunk];
    const int count = (int)(end - begin), columns = round_up(count, 32);
    for (int s = 0; s < columns; s++) {
      const int64_t cell = visits[begin + (s < count ? s : 0)], corner[3] = {cell % r, cell / r % r, cell / (r * r)};
      for (int a = 0; a < 3; a++) p[a][s] = ((float)corner[a] + uniform(key[a], (uint64_t)(begin + s))) / (float)r;
    }
    tracers[worker]->density(field, networks, p[0], p[1], p[2], columns);
    for (int s = 0; s < columns; s += kLanes)
      storef(value + s, density_activation(loadf(tracers[worker]->outputs.data() + s)));
    std::copy(value, value + count, found.begin() + begin);
  });
  /* A cell that is visited twice decays once and keeps the larger find. */
  std::vector<bool> seen((size_t)(r * r * r));
  for (size_t i = 0; i < visits.size(); i++) {
    float &cell = u.density[visits[i]];
    if (!seen[visits[i]]) cell *= u.decay;
    seen[visits[i]] = true;
    cell = std::max(cell, found[i]);
  }
  std::vector<double> sums(r);
  parallel(r, threads, [&](int64_t z, int) {
    double sum = 0;
    for (int64_t i = z * r * r; i < (z + 1) * r * r; i++) sum += u.density[i];
    sums[z] = sum;
  });
  double mean = 0;
  for (double sum : sums) mean += sum;
  mean /= (double)(r * r * r);
  const double threshold = std::min(mean, (double)u.thinnest / (double)u.march_step);
  return nr_occupancy_bits(u.density, (int32_t)r, (float)threshold, u.bits, threads);
}

} // namespace
} // namespace nr

int nr_ngp_update_occupancy(const nr_ngp *field, const nr_occupancy_update *update, void *workspace,
                            int threads) try {
  if (!nr::valid(*field) || update->stride < 1) return NR_BAD_ARGUMENT;
  return nr::dispatch(*field, [&](auto mode, auto width) {
    return nr::update<decltype(mode), decltype(width)::value>(*field, *update, *(nr::Workspace *)workspace, threads);
  });
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}
