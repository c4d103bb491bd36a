/* Sparse Adam as an operator of its own. */
#include "adam.h"

#include "pool.h"

int nr_sparse_adam(float *value, float *first_moment, float *second_moment, float *gradient, int64_t entries,
                   int32_t features, float learning_rate, float beta1, float beta2, float epsilon, int64_t step,
                   int threads) {
  using namespace nr;
  if (step < 1 || entries < 0) return NR_BAD_ARGUMENT;
  const AdamStep adam(learning_rate, beta1, beta2, epsilon, step);
  auto run = [&](auto width) {
    constexpr int F = decltype(width)::value;
    parallel_blocks(entries, 16384, threads, [&](int64_t begin, int64_t end, int) {
      adam_range<F>(value, first_moment, second_moment, gradient, nullptr, begin * F, end * F, adam);
    });
    return (int)NR_OK;
  };
  switch (features) {
  case 1: return run(std::integral_constant<int, 1>());
  case 2: return run(std::integral_constant<int, 2>());
  case 4: return run(std::integral_constant<int, 4>());
  case 8: return run(std::integral_constant<int, 8>());
  default: return NR_BAD_ARGUMENT;
  }
}
