/* A ReLU network without biases on panels of kChunk samples: forward, and backward to its weights and
 * its input. */
#pragma once
#include <vector>

#include "gemm.h"
#include "kernels.h"
#include "memory.h"

namespace nr {

inline int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

inline bool valid(const nr_mlp &m) {
  auto fits = [](int n) { return n >= 16 && n <= 128 && n % 16 == 0; };
  return fits(m.inputs) && fits(m.width) && fits(m.outputs) && m.hidden_layers >= 1 && m.hidden_layers <= 16;
}

template <class P> struct NetworkScratch {
  typedef typename P::word word;
  Buffer<word> right, left, gradient[2];
  explicit NetworkScratch(int widest = 128)
      : right((size_t)widest * kChunk), left((size_t)widest * kChunk) {
    for (auto &g : gradient) g.reserve((size_t)widest * kChunk);
  }
};

template <class P> struct Network {
  typedef typename P::word word;
  struct Layer {
    int rows, columns;             /* padded: rows to 4, columns to 32 */
    int weight_rows, weight_columns; /* as in the flat parameters */
    int64_t weight;                /* offset there */
    int64_t padded;                /* offset in the padded gradient */
    Buffer<word> forward, transposed;
  };
  std::vector<Layer> layers;
  int64_t padded_count = 0;

  /* rows_used: how many rows of the last layer matter (the rest is padding of the layout). */
  Network(const nr_mlp &mlp, int rows_used) {
    int64_t offset = 0;
    for (int l = 0; l <= mlp.hidden_layers; l++) {
      Layer layer;
      layer.weight_rows = l < mlp.hidden_layers ? mlp.width : mlp.outputs;
      layer.weight_columns = l == 0 ? mlp.inputs : mlp.width;
      layer.rows = l < mlp.hidden_layers ? round_up(mlp.width, 32) : round_up(rows_used, 4);
      layer.columns = round_up(layer.weight_columns, 32);
      layer.weight = offset;
      layer.padded = padded_count;
      offset += (int64_t)layer.weight_rows * layer.weight_columns;
      padded_count += (int64_t)layer.rows * layer.columns;
      layer.forward.reserve((size_t)layer.rows * layer.columns);
      layer.transposed.reserve((size_t)layer.rows * layer.columns);
      layers.push_back(std::move(layer));
    }
  }

  void pack_weights(const float *weights) {
    std::vector<float> padded;
    for (auto &l : layers) {
      padded.assign((size_t)l.rows * l.columns, 0.0f);
      for (int m = 0; m < l.rows && m < l.weight_rows; m++)
        for (int k = 0; k < l.weight_columns; k++)
          padded[(size_t)m * l.columns + k] = weights[l.weight + (int64_t)m * l.weight_columns + k];
      pack(P(), padded.data(), l.rows, l.columns, l.forward.data());
      pack_transposed(P(), padded.data(), l.rows, l.columns, l.transposed.data());
    }
  }

  int hidden_words() const { /* words of one chunk's hidden activations */
    int words = 0;
    for (size_t l = 0; l + 1 < layers.size(); l++) words += layers[l].rows / P::per_word * kChunk;
    return words;
  }

  /* x panel -> hidden panels one after the other -> y, float32 [rows][kChunk]. */
  void forward(const word *x, word *hidden, float *y, int columns) const {
    for (size_t l = 0; l < layers.size(); l++) {
      const Layer &layer = layers[l];
      const int depth = layer.columns / P::per_word;
      if (l + 1 == layers.size()) {
        multiply<P>(layer.forward.data(), depth, x, kChunk, depth, layer.rows, columns, ToFloat{y, kChunk});
      } else {
        multiply<P>(layer.forward.data(), depth, x, kChunk, depth, layer.rows, columns,
                    to_panel<P>(hidden, kChunk, Relu{}));
        x = hidden;
        hidden += layer.rows / P::per_word * kChunk;
      }
    }
  }

  /* Only the hidden activations, where the output is known already. */
  void forward_hidden(const word *x, word *hidden, int columns) const {
    for (size_t l = 0; l + 1 < layers.size(); l++) {
      const int depth = layers[l].columns / P::per_word;
      multiply<P>(layers[l].forward.data(), depth, x, kChunk, depth, layers[l].rows, columns,
                  to_panel<P>(hidden, kChunk, Relu{}));
      x = hidden;
      hidden += layers[l].rows / P::per_word * kChunk;
    }
  }

  /* grad_y: panel of the gradient of y; adds to grad_weights (padded layout); writes the first
   * `grad_rows` rows of the gradient of x through `input` (an epilogue), if grad_rows > 0. columns is
   * a multiple of 32; columns without a sample must hold zeros in grad_y. */
  template <class Epilogue>
  void backward(const word *x, const word *hidden, const word *grad_y, float *grad_weights, int columns,
                int grad_rows, const Epilogue &input, NetworkScratch<P> &scratch) const {
    const word *grad = grad_y;
    const word *h = hidden + hidden_words();
    for (int l = (int)layers.size() - 1; l >= 0; l--) {
      const Layer &layer = layers[l];
      if (l > 0) h -= layers[l - 1].rows / P::per_word * kChunk;
      const word *in = l == 0 ? x : h;
      transpose(P(), in, kChunk, layer.columns, columns, scratch.right.data());
      const word *left = regroup(P(), grad, kChunk, layer.rows, columns, scratch.left.data());
      multiply<P>(left, kChunk / P::per_word, scratch.right.data(), layer.columns, columns / P::per_word, layer.rows,
                  layer.columns, AddFloat{grad_weights + layer.padded, layer.columns});
      const int depth = layer.rows / P::per_word;
      if (l > 0) {
        word *next = scratch.gradient[l & 1].data();
        multiply<P>(layer.transposed.data(), depth, grad, kChunk, depth, layer.columns, columns,
                    to_panel<P>(next, kChunk, ReluGradient<P>{h, kChunk}));
        grad = next;
      } else if (grad_rows > 0) {
        multiply<P>(layer.transposed.data(), depth, grad, kChunk, depth, grad_rows, columns, input);
      }
    }
  }

  /* Padded gradient to the flat layout; the unused rows get zero. */
  void unpad(const float *padded, float *flat) const {
    for (auto &l : layers)
      for (int m = 0; m < l.weight_rows; m++)
        for (int k = 0; k < l.weight_columns; k++)
          flat[l.weight + (int64_t)m * l.weight_columns + k] =
              m < l.rows ? padded[l.padded + (int64_t)m * l.columns + k] : 0.0f;
  }
};

/* Samples-first rows (n, features) into a panel and back; rows and columns beyond are zero. */
template <class P>
inline void rows_to_panel(const float *x, int64_t n, int features, int padded_features, typename P::word *panel) {
  float a[kLanes], b[kLanes];
  for (int k = 0; k < padded_features; k += 2)
    for (int s = 0; s < kChunk; s += kLanes) {
      for (int i = 0; i < kLanes; i++) {
        a[i] = s + i < n && k < features ? x[(s + i) * (int64_t)features + k] : 0.0f;
        b[i] = s + i < n && k + 1 < features ? x[(s + i) * (int64_t)features + k + 1] : 0.0f;
      }
      store_pair(panel, kChunk, k, s, rounded<P>(loadf(a)), rounded<P>(loadf(b)));
    }
}
inline void columns_to_rows(const float *panel, int64_t n, int features, float *y) {
  for (int64_t s = 0; s < n; s++)
    for (int k = 0; k < features; k++) y[s * features + k] = panel[k * kChunk + s];
}

} // namespace nr
