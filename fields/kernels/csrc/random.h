/* Counter-based random numbers (the splitmix64 finaliser), bit for bit those of scenes/random.py. */
#pragma once
#include <cstdint>

namespace nr {
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ull;

inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
inline uint64_t random_key(uint64_t seed, uint64_t step, uint64_t stream) {
  return mix(mix(seed + kGolden) ^ (step * 0xd1342543de82ef95ull + stream * kGolden));
}
inline uint64_t random_bits(uint64_t key, uint64_t index) { return mix(key + (index + 1) * kGolden); }
inline float uniform(uint64_t key, uint64_t index) {
  return (float)(random_bits(key, index) >> 40) * 0x1p-24f;
}
} // namespace nr
