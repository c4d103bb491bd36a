/* Occupancy bits from cell densities. */
#include "kernels.h"
#include "pool.h"

namespace nr {
namespace {

/* Sets the bits of the eighth of a coarser grid that a finer one covers: a cell where any of its 2x2x2 is. */
void add_finer(const uint64_t *finer, uint64_t *coarser, int64_t r, int threads) {
  const int64_t blocks = r / 4;
  parallel(r / 2, threads, [&](int64_t z, int) {
    for (int64_t y = 0; y < r / 2; y++)
      for (int64_t x = 0; x < r / 2; x++) {
        /* Even coordinates: the eight cells lie in one word. */
        const uint64_t word = finer[x / 2 + blocks * (y / 2 + blocks * (z / 2))];
        const uint64_t eight = 0x330033ull << (2 * (x & 1) + 8 * (y & 1) + 32 * (z & 1));
        if (!(word & eight)) continue;
        const int64_t cx = x + r / 4, cy = y + r / 4, cz = z + r / 4;
        uint64_t *to = coarser + cx / 4 + blocks * (cy / 4 + blocks * (cz / 4));
        __atomic_fetch_or(to, 1ull << ((cx & 3) + 4 * (cy & 3) + 16 * (cz & 3)), __ATOMIC_RELAXED);
      }
  });
}

} // namespace
} // namespace nr

int nr_occupancy_bits(const float *density, int32_t resolution, int32_t levels, float threshold, uint64_t *bits,
                      int threads) {
  if (resolution < 4 || resolution > 256 || resolution % 4 || levels < 1) return NR_BAD_ARGUMENT;
  const int64_t r = resolution, blocks = r / 4;
  nr::parallel(blocks * levels, threads, [&](int64_t bz, int) { /* grids lie one after the other along z */
    for (int64_t by = 0; by < blocks; by++)
      for (int64_t bx = 0; bx < blocks; bx++) {
        uint64_t word = 0;
        for (int z = 0; z < 4; z++)
          for (int y = 0; y < 4; y++)
            for (int x = 0; x < 4; x++)
              if (density[(bx * 4 + x) + r * ((by * 4 + y) + r * (bz * 4 + z))] > threshold)
                word |= 1ull << (x + 4 * y + 16 * z);
        bits[bx + blocks * (by + blocks * bz)] = word;
      }
  });
  const int64_t words = blocks * blocks * blocks;
  for (int32_t l = 1; l < levels; l++) nr::add_finer(bits + (l - 1) * words, bits + l * words, r, threads);
  return NR_OK;
}
