/* The network as an operator of its own. */
#include "kernels.h"
#include "network.h"
#include "pool.h"

namespace nr {
namespace {

constexpr int kShares = 32; /* of the batch, fixed: sums do not depend on the threads */

template <class P>
void forward(const nr_mlp &mlp, const float *weights, const float *x, int64_t n, float *y, int threads) {
  typedef typename P::word word;
  Network<P> network(mlp, mlp.outputs);
  network.pack_weights(weights);
  const int inputs = round_up(mlp.inputs, 32);
  struct Work {
    Buffer<word> x, hidden;
    Buffer<float> y;
  };
  std::vector<Work> work(threads);
  parallel_blocks(n, kChunk, threads, [&](int64_t begin, int64_t end, int worker) {
    configure_tiles();
    Work &w = work[worker];
    word *panel = w.x.reserve((size_t)inputs * kChunk);
    float *out = w.y.reserve((size_t)mlp.outputs * kChunk);
    rows_to_panel<P>(x + begin * mlp.inputs, end - begin, mlp.inputs, inputs, panel);
    network.forward(panel, w.hidden.reserve(network.hidden_words()), out, kChunk);
    columns_to_rows(out, end - begin, mlp.outputs, y + begin * mlp.outputs);
  });
}

template <class P>
void backward(const nr_mlp &mlp, const float *weights, const float *x, const float *grad_y, int64_t n,
              float *grad_weights, float *grad_x, int threads) {
  typedef typename P::word word;
  Network<P> network(mlp, mlp.outputs);
  network.pack_weights(weights);
  const int inputs = round_up(mlp.inputs, 32);
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<float> sums((size_t)kShares * network.padded_count, 0.0f);
  struct Work {
    Buffer<word> x, hidden, grad_y;
    Buffer<float> grad_x;
    NetworkScratch<P> scratch;
  };
  std::vector<Work> work(threads);
  parallel(kShares, threads, [&](int64_t share, int worker) {
    configure_tiles();
    Work &w = work[worker];
    word *panel = w.x.reserve((size_t)inputs * kChunk), *gradient = w.grad_y.reserve((size_t)mlp.outputs * kChunk);
    word *hidden = w.hidden.reserve(network.hidden_words());
    float *grad_panel = w.grad_x.reserve((size_t)inputs * kChunk);
    for (int64_t c = chunks * share / kShares; c < chunks * (share + 1) / kShares; c++) {
      const int64_t begin = c * kChunk, count = begin + kChunk < n ? kChunk : n - begin;
      rows_to_panel<P>(x + begin * mlp.inputs, count, mlp.inputs, inputs, panel);
      rows_to_panel<P>(grad_y + begin * mlp.outputs, count, mlp.outputs, mlp.outputs, gradient);
      network.forward_hidden(panel, hidden, kChunk);
      network.backward(panel, hidden, gradient, sums.data() + share * network.padded_count, kChunk,
                       grad_x ? inputs : 0, ToFloat{grad_panel, kChunk}, w.scratch);
      if (grad_x) columns_to_rows(grad_panel, count, mlp.inputs, grad_x + begin * mlp.inputs);
    }
  });
  for (int share = 1; share < kShares; share++)
    for (int64_t i = 0; i < network.padded_count; i++) sums[i] += sums[share * network.padded_count + i];
  network.unpad(sums.data(), grad_weights);
}

} // namespace
} // namespace nr

#if NR_BF16
typedef nr::BFloat16 Reduced;
#else
typedef nr::RoundedFloat32 Reduced;
#endif

int nr_mlp_forward(const nr_mlp *mlp, const float *weights, const float *x, int64_t n, float *y, int bfloat16,
                   int threads) try {
  if (!nr::valid(*mlp)) return NR_BAD_ARGUMENT;
  if (bfloat16)
    nr::forward<Reduced>(*mlp, weights, x, n, y, threads);
  else
    nr::forward<nr::Float32>(*mlp, weights, x, n, y, threads);
  return NR_OK;
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}

int nr_mlp_backward(const nr_mlp *mlp, const float *weights, const float *x, const float *grad_y, int64_t n,
                    float *grad_weights, float *grad_x, int bfloat16, int threads) try {
  if (!nr::valid(*mlp)) return NR_BAD_ARGUMENT;
  if (bfloat16)
    nr::backward<Reduced>(*mlp, weights, x, grad_y, n, grad_weights, grad_x, threads);
  else
    nr::backward<nr::Float32>(*mlp, weights, x, grad_y, n, grad_weights, grad_x, threads);
  return NR_OK;
} catch (const std::bad_alloc &) {
  return NR_OUT_OF_MEMORY;
}
