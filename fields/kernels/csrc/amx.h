/* Panel products on AMX tiles (Intel, from Sapphire Rapids on): 16 x 16 sums of 32 bfloat16 products.
 *
 * The layouts of gemm.h are already those of tiles: row-major words on the left, [k][n] words on the right.
 * NR_EMULATE_AMX replaces the four instructions by loops that do what the manual says, so that everything
 * around them can be tested on any processor. */
#pragma once
#include "simd.h"

#if NR_BF16 && (defined(__AMX_BF16__) || defined(NR_EMULATE_AMX))
#define NR_AMX 1

namespace nr {

constexpr int kTile = 16; /* rows, and words in a row */

#if defined(NR_EMULATE_AMX)

struct EmulatedTiles {
  uint32_t word[8][kTile][kTile];
  bool configured = false;
};
inline thread_local EmulatedTiles emulated_tiles;
inline void configure_tiles() { emulated_tiles.configured = true; }
template <int T> inline void tile_zero() { std::memset(emulated_tiles.word[T], 0, sizeof emulated_tiles.word[T]); }
template <int T> inline void tile_load(const void *p, int64_t stride_bytes) {
  for (int r = 0; r < kTile; r++) std::memcpy(emulated_tiles.word[T][r], (const char *)p + r * stride_bytes, 64);
}
template <int T> inline void tile_store(void *p, int64_t stride_bytes) {
  for (int r = 0; r < kTile; r++) std::memcpy((char *)p + r * stride_bytes, emulated_tiles.word[T][r], 64);
}
template <int C, int A, int B> inline void tile_multiply() { /* TDPBF16PS */
  if (!emulated_tiles.configured) __builtin_trap();
  auto &t = emulated_tiles.word;
  for (int m = 0; m < kTile; m++)
    for (int k = 0; k < kTile; k++)
      for (int n = 0; n < kTile; n++) {
        float sum;
        std::memcpy(&sum, &t[C][m][n], 4);
        sum += from_bf16_bits((uint16_t)t[A][m][k]) * from_bf16_bits((uint16_t)t[B][k][n]);
        sum += from_bf16_bits((uint16_t)(t[A][m][k] >> 16)) * from_bf16_bits((uint16_t)(t[B][k][n] >> 16));
        std::memcpy(&t[C][m][n], &sum, 4);
      }
}

#else

/* Every thread does this before its first product, and again after foreign code may have used tiles. */
inline void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shape;
  __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");
}
/* Written out, since g++ 12's intrinsics do not tell the compiler that they read and write memory. */
template <int T> inline void tile_zero() { __asm__ volatile("tilezero %%tmm%c0" ::"i"(T) : "memory"); }
template <int T> inline void tile_load(const void *p, int64_t stride_bytes) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(p), "r"(stride_bytes) : "memory");
}
template <int T> inline void tile_store(void *p, int64_t stride_bytes) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(p), "r"(stride_bytes) : "memory");
}
template <int C, int A, int B> inline void tile_multiply() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B) : "memory");
}

#endif

/* Tiles 0-3: sums of up to 32 rows x 32 columns; 4, 5: left-hand side; 6, 7: right-hand side. */
template <bool kTwoRows>
inline void tile_block(const uint32_t *a, int lda, const uint32_t *b, int ldb, int depth, float *sums) {
  tile_zero<0>();
  tile_zero<1>();
  if (kTwoRows) tile_zero<2>(), tile_zero<3>();
  for (int k = 0; k < depth; k += kTile) {
    tile_load<4>(a + k, lda * 4);
    tile_load<6>(b + (int64_t)k * ldb, ldb * 4);
    tile_load<7>(b + (int64_t)k * ldb + kTile, ldb * 4);
    tile_multiply<0, 4, 6>();
    tile_multiply<1, 4, 7>();
    if (kTwoRows) {
      tile_load<5>(a + (int64_t)kTile * lda + k, lda * 4);
      tile_multiply<2, 5, 6>();
      tile_multiply<3, 5, 7>();
    }
  }
  tile_store<0>(sums, 128);
  tile_store<1>(sums + kTile, 128);
  if (kTwoRows) {
    tile_store<2>(sums + kTile * 32, 128);
    tile_store<3>(sums + kTile * 32 + kTile, 128);
  }
}

} // namespace nr
#else
namespace nr {
inline void configure_tiles() {}
} // namespace nr
#endif
