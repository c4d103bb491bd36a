/* Occupancy bits from cell densities. */
#include "kernels.h"
#include "pool.h"

int nr_occupancy_bits(const float *density, int32_t resolution, float threshold, uint64_t *bits, int threads) {
  if (resolution < 4 || resolution > 256 || resolution % 4) return NR_BAD_ARGUMENT;
  const int64_t r = resolution, blocks = r / 4;
  nr::parallel(blocks, threads, [&](int64_t bz, int) {
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
  return NR_OK;
}
