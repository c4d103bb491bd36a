/* What this library is, and what the processor can do. */
#include "kernels.h"
#include "simd.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

int nr_abi_version(void) { return NR_ABI_VERSION; }

const char *nr_isa(void) {
#if defined(__AMX_BF16__)
  return "amx";
#elif defined(__AVX512BF16__)
  return "avx512bf16";
#elif defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#else
  return "portable";
#endif
}

const char *nr_error(int status) {
  switch (status) {
  case NR_OK: return "no error";
  case NR_BAD_ARGUMENT: return "an argument is outside what the kernel takes";
  case NR_UNSUPPORTED: return "not supported by this instruction set";
  case NR_OUT_OF_MEMORY: return "out of memory";
  default: return "unknown status";
  }
}

uint32_t nr_cpu_features(void) {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool f16c = (c & bit_F16C) && (c & bit_FMA);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  const bool ymm = (low & 0x6) == 0x6, zmm = (low & 0xe6) == 0xe6, tiles = (low & 0x60000) == 0x60000;
  uint32_t features = 0;
  if (ymm && f16c && (b & bit_AVX2)) features |= 1;
  const unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((features & 1) && zmm && (b & wide) == wide) features |= 2;
  const bool amx = (d & (1u << 24)) && (d & (1u << 22)); /* AMX-TILE, AMX-BF16 */
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return features;
  if ((features & 2) && (a & (1u << 5))) features |= 4;
#if defined(__linux__)
  /* The kernel hands out tile state on request only: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA). */
  if ((features & 4) && amx && tiles && syscall(SYS_arch_prctl, 0x1023, 18) == 0) features |= 8;
#else
  (void)amx, (void)tiles;
#endif
  return features;
#else
  return 0;
#endif
}

int nr_use_huge_pages(void *data, int64_t bytes, int) {
#if defined(__linux__)
  const uintptr_t page = 2u << 20, begin = ((uintptr_t)data + page - 1) / page * page,
                  end = ((uintptr_t)data + (uintptr_t)bytes) / page * page;
  if (begin < end) {
    madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    madvise((void *)begin, end - begin, 25); /* MADV_COLLAPSE (Linux 6.1): at once, not some day */
  }
#else
  (void)data, (void)bytes;
#endif
  return NR_OK;
}
