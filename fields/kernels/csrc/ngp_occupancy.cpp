/* The occupancy grid's update, with the cells and points that render/samplers/occupancy.py chooses. */
#include <algorithm>

#include "ngp_workspace.h"
#include "pool.h"
#include "random.h"

namespace nr {
namespace {

enum VisitStream { kPick = 16, kJitterX = 17 }; /* kJitterX + axis */

/* Numbers of the occupied cells, ascending; nested grids lie one after the other along z. */
void occupied_cells(const uint64_t *bits, int64_t r, int64_t levels, std::vector<int64_t> &cells) {
  cells.clear();
  const int64_t blocks = r / 4;
  for (int64_t z = 0; z < r * levels; z++)
    for (int64_t y = 0; y < r; y++)
      for (int64_t block = 0; block < blocks; block++) {
        const uint64_t word = bits[block + blocks * (y / 4 + blocks * (z / 4))];
        const unsigned four = word >> (4 * (y & 3) + 16 * (z & 3)) & 15;
        for (unsigned x = 0; four >> x; x++)
          if (four >> x & 1) cells.push_back((z * r + y) * r + 4 * block + x);
      }
}

void cells_to_visit(const nr_occupancy_update &u, int64_t r, int64_t levels, OccupancyVisits &out) {
  const int64_t cells = r * r * r * levels;
  const int64_t stride = u.updates == 0 ? 1 : u.stride;
  out.cells.clear();
  for (int64_t cell = u.updates == 0 ? 0 : u.updates % stride; cell < cells; cell += stride) out.cells.push_back(cell);
  if (u.updates == 0) return;
  occupied_cells(u.bits, r, levels, out.candidates);
  const uint64_t key = random_key(u.seed, (uint64_t)u.step, kPick);
  const int64_t in_turn = (int64_t)out.cells.size();
  const double candidates = (double)out.candidates.size();
  for (int64_t i = 0; i < in_turn && candidates > 0; i++)
    out.cells.push_back(out.candidates[(int64_t)((double)uniform(key, (uint64_t)i) * candidates)]);
}

/* A cell that is visited twice decays once and keeps the larger find. */
void take_finds(const nr_occupancy_update &u, int64_t cells, const std::vector<int64_t> &visits,
                const std::vector<float> &found, int threads) {
  constexpr int64_t kParts = 8; /* of the grid; each passes over all visits and takes its own */
  parallel(kParts, threads, [&](int64_t part, int) {
    const int64_t begin = cells * part / kParts, end = cells * (part + 1) / kParts;
    std::vector<bool> seen((size_t)(end - begin));
    for (size_t i = 0; i < visits.size(); i++) {
      const int64_t cell = visits[i];
      if (cell < begin || cell >= end) continue;
      if (!seen[cell - begin]) u.density[cell] *= u.decay;
      seen[cell - begin] = true;
      u.density[cell] = std::max(u.density[cell], found[i]);
    }
  });
}

template <class Mode>
int update(const nr_ngp &field, const nr_occupancy_update &u, Workspace &workspace, int threads) {
  const NgpNetworks<Mode> networks(field);
  const int64_t r = field.resolution, levels = field.levels;
  cells_to_visit(u, r, levels, workspace.visits);
  const std::vector<int64_t> &visits = workspace.visits.cells;
  std::vector<float> &found = workspace.visits.found;
  found.resize(visits.size());
  auto &tracers = workspace.tracers<Mode>(threads, false);
  uint64_t key[3];
  for (int a = 0; a < 3; a++) key[a] = random_key(u.seed, (uint64_t)u.step, kJitterX + a);
  parallel_blocks((int64_t)visits.size(), kChunk, threads, [&](int64_t begin, int64_t end, int worker) {
    configure_tiles();
    alignas(64) float p[3][kChunk], value[kChunk];
    const int count = (int)(end - begin), columns = round_up(count, 32);
    for (int s = 0; s < columns; s++) {
      const int64_t cell = visits[begin + (s < count ? s : 0)], level = cell / (r * r * r);
      const int64_t corner[3] = {cell % r, cell / r % r, cell / (r * r) % r};
      for (int a = 0; a < 3; a++) {
        p[a][s] = ((float)corner[a] + uniform(key[a], (uint64_t)(begin + s))) / (float)r;
        if (level > 0) p[a][s] = std::ldexp(p[a][s] - 0.5f, (int)level) + 0.5f;
      }
    }
    if (levels > 1) contract_columns(p[0], p[1], p[2], columns, nullptr);
    tracers[worker]->density(field, networks, p[0], p[1], p[2], columns);
    for (int s = 0; s < columns; s += kLanes)
      storef(value + s, density_activation(loadf(tracers[worker]->outputs.data() + s), field.density_shift));
    std::copy(value, value + count, found.begin() + begin);
  });
  take_finds(u, r * r * r * levels, visits, found, threads);
  std::vector<double> sums(r * levels);
  parallel(r * levels, threads, [&](int64_t z, int) {
    double sum = 0;
    for (int64_t i = z * r * r; i < (z + 1) * r * r; i++) sum += u.density[i];
    sums[z] = sum;
  });
  double mean = 0;
  for (double sum : sums) mean += sum;
  mean /= (double)(r * r * r * levels);
  const double threshold = std::min(mean, (double)u.thinnest / (double)u.march_step);
  return nr_occupancy_bits(u.density, field.resolution, field.levels, (float)threshold, u.bits, threads);
}

} // namespace
} // namespace nr

int nr_ngp_update_occupancy(const nr_ngp *field, const nr_occupancy_update *update, void *workspace,
                            int threads) try {
  if (!nr::valid(*field) || update->stride < 1) return NR_BAD_ARGUMENT;
  const std::lock_guard<std::mutex> alone(((nr::Workspace *)workspace)->busy);
  return nr::dispatch(*field, [&](auto mode) {
    return nr::update<decltype(mode)>(*field, *update, *(nr::Workspace *)workspace, threads);
  });
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}
