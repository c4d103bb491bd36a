/* The C ABI of the CPU kernels: every function that Python calls, and nothing else.
 *
 * All arrays are contiguous, float32 unless said otherwise, and checked by the caller
 * (fields/kernels/ .py) before a pointer arrives here. Every function returns NR_OK or another
 * nr_status. Results never depend on `threads`: sums are taken in a fixed order.
 * The definition of each operator is its torch reference beside the Python binding. */
#pragma once
#include <stdint.h>

#define NR_ABI_VERSION 6
#if defined(__GNUC__)
#define NR_API extern "C" __attribute__((visibility("default")))
#else
#define NR_API extern "C"
#endif

enum nr_status { NR_OK = 0, NR_BAD_ARGUMENT = 1, NR_UNSUPPORTED = 2, NR_OUT_OF_MEMORY = 3 };

/* Multiresolution hash grid over the unit cube (tiny-cuda-nn's layout and hash).
 * Level l has offset[l+1] - offset[l] entries of `features` values; it is dense where
 * resolution[l]^3 fits, hashed otherwise. Vertex position = point * scale[l] + 0.5. */
typedef struct {
  int32_t levels, features; /* features: 1, 2, 4 or 8 */
  const float *scale;
  const int32_t *resolution;
  const int64_t *offset; /* levels + 1 */
} nr_grid;

/* ReLU network without biases. weights: [width, inputs], (hidden_layers - 1) x [width, width],
 * [outputs, width], row-major; inputs, width and outputs are multiples of 16, at most 128. */
typedef struct {
  int32_t inputs, width, hidden_layers, outputs;
} nr_mlp;

NR_API int nr_abi_version(void);
NR_API const char *nr_isa(void);
NR_API const char *nr_error(int status);
/* What the processor (and for AMX the kernel) allows: bit 0 AVX2 + FMA + F16C, bit 1 AVX-512
 * F/BW/DQ/VL, bit 2 AVX-512 BF16, bit 3 AMX tiles + bf16. */
NR_API uint32_t nr_cpu_features(void);

/* points (n, 3), clamped to [0, 1]; out (n, levels * features). */
NR_API int nr_hash_grid_forward(const nr_grid *grid, const float *points, const float *table, int64_t n,
                                float *out, int threads);
/* grad_table (entries * features) is overwritten; grad_points (n, 3) is 0 where a coordinate was
 * clamped. Either may be NULL. */
NR_API int nr_hash_grid_backward(const nr_grid *grid, const float *points, const float *table,
                                 const float *grad_out, int64_t n, float *grad_table, float *grad_points,
                                 int threads);

/* x (n, inputs), y (n, outputs). bfloat16: weights, layer inputs, hidden activations and the
 * gradients entering a product are rounded to bfloat16; sums and results stay float32. */
NR_API int nr_mlp_forward(const nr_mlp *mlp, const float *weights, const float *x, int64_t n, float *y,
                          int bfloat16, int threads);
/* grad_weights is overwritten; grad_x may be NULL. */
NR_API int nr_mlp_backward(const nr_mlp *mlp, const float *weights, const float *x, const float *grad_y,
                           int64_t n, float *grad_weights, float *grad_x, int bfloat16, int threads);

/* directions (n, 3) unit; out (n, 16): real spherical harmonics up to degree 3. */
NR_API int nr_spherical_harmonics_forward(const float *directions, int64_t n, float *out, int threads);
NR_API int nr_spherical_harmonics_backward(const float *directions, const float *grad_out, int64_t n,
                                           float *grad_directions, int threads);

/* Packed samples: ray r owns samples ray_start[r] .. ray_start[r+1]. values (n, channels);
 * out (rays, channels), opacity (rays), weights (n). */
NR_API int nr_composite_forward(const float *density, const float *values, const float *delta,
                                const int64_t *ray_start, int64_t rays, int32_t channels, float *out,
                                float *opacity, float *weights, int threads);
NR_API int nr_composite_backward(const float *density, const float *values, const float *delta,
                                 const int64_t *ray_start, int64_t rays, int32_t channels,
                                 const float *grad_out, const float *grad_opacity, const float *grad_weights,
                                 float *grad_density, float *grad_values, int threads);

/* planes (count, height, width, 4): colour, and density or alpha, near to far; z_depth (count). lines (rays, 6),
 * float64: a_u, b_u, a_v, b_v, offset, slope (fields/kernels/multiplane.py); of numbers that are not finite, what
 * comes back means nothing. empty: nothing is outside of the pictures. Planes before which less than
 * lowest_transmittance is left have no weight; epsilon is added to what each lets through. rgb (rays, 3), opacity
 * (rays), distance (rays): weighted sums; samples (rays): planes met within their pictures. */
NR_API int nr_multiplane(const float *planes, const float *z_depth, int32_t count, int32_t height, int32_t width,
                         const double *lines, int64_t rays, int32_t alpha, int32_t empty, float last_interval,
                         float lowest_transmittance, float epsilon, float *rgb, float *opacity, float *distance,
                         int32_t *samples, int threads);

/* Samples at t_near + (i + jitter) * step inside the unit cube whose occupancy bit is set.
 * bits: levels times (R/4)^3 words of 4x4x4 cells, x fastest both in words and in a word: nested cubes, each
 * twice as large as the one before. With several, or with growth or near above 0, samples stand
 * max(step, growth t) apart (fields/kernels/march.py). Called with t = NULL it only fills ray_start (rays + 1);
 * called again with that ray_start it writes t. */
NR_API int nr_march(const float *origins, const float *directions, const float *jitter, int64_t rays,
                    const uint64_t *bits, int32_t resolution, int32_t levels, float step, float growth, float near,
                    int64_t *ray_start, float *t, int threads);

/* Adam over the entries that have a gradient; the gradient is zeroed. step counts from 1. */
NR_API int nr_sparse_adam(float *value, float *first_moment, float *second_moment, float *gradient,
                          int64_t entries, int32_t features, float learning_rate, float beta1, float beta2,
                          float epsilon, int64_t step, int threads);

/* density (levels R, R, R), x fastest; a bit is set where density > threshold, or a bit of the next finer grid is. */
NR_API int nr_occupancy_bits(const float *density, int32_t resolution, int32_t levels, float threshold, uint64_t *bits,
                             int threads);

/* ---- the instant-ngp field as a whole: hash grid -> density network -> colour network ---- */

/* The box [box_minimum, box_minimum + box_side]^3 of the model frame is the unit cube of the grid.
 * density = exp(min(raw - density_shift, 15)) / box_side per model unit; colour input = [16 density outputs, 16
 * spherical harmonics]; colour = sigmoid. With levels above 1 there is no end to space: the box is the inner half
 * of the grid's cube, all beyond is contracted into the outer half (fields/contraction.py), and density is
 * divided by how far out a point is, in half sides of the box, too. With bfloat16 the networks compute in bfloat16 and the grid is
 * read from table_half (IEEE half copy of table, which the training step keeps up to date). */
typedef struct {
  nr_grid grid;
  float *table;
  uint16_t *table_half;
  float *density_weights, *color_weights;
  int32_t density_width, density_hidden_layers, color_width, color_hidden_layers;
  const uint64_t *bits; /* occupancy, as in nr_march */
  int32_t resolution, levels;
  int32_t bfloat16;
  float box_minimum[3], box_side, density_shift;
} nr_ngp;

enum nr_projection { NR_PERSPECTIVE, NR_FISHEYE, NR_EQUIRECTANGULAR };

/* Training pixels (scenes/pixels.py). rgb or rgba bytes, straight alpha; blocks (n, 3): image, row and
 * column of an 8x8 block, the foreground blocks first. */
typedef struct {
  const uint8_t *data;
  const int64_t *offset;
  const int32_t *width, *height;
  const float *camera_to_world; /* images, 3, 4 */
  const float *intrinsics;      /* images, 4: fx, fy, cx, cy */
  const int32_t *blocks;
  int64_t foreground_blocks, background_blocks;
  double foreground_rate; /* chance that a draw takes a foreground block, or a sighting */
  double sighting_rate;   /* of the latter alone */
  const uint64_t *seen;      /* of each block: the pixels that may be drawn, bit 8 row + column; NULL: all */
  const float *distortion;   /* images, 8: coefficients of scenes/lenses.py; NULL: all zero */
  const float *distance;     /* of each pixel, along its ray, model units; 0: unknown. NULL: all are */
  const int32_t *sighted;        /* sightings, 3: image, column, row of pixels that show a known point */
  const float *sighted_distance; /* sightings: how far the point is along the pixel's ray, model units */
  int64_t sightings;
  const float *appearance;   /* images, 3, 4: the composited colour becomes A c + b; NULL: stays as it is */
  int32_t projection;        /* nr_projection */
  int32_t channels;
} nr_pixels;

typedef struct {
  float *value, *first_moment, *second_moment;
  float *gradient; /* of the table: written only if gradients_only */
} nr_adam_state;

/* What a step tells of its rays, each (rays, 3); origin and direction may be NULL. */
typedef struct {
  int32_t *pixel;                /* picture, x, y */
  float *color, *color_gradient; /* composited, before the picture's appearance; d loss / d the colour after it */
  float *origin, *direction;     /* d loss / d the ray's, model units; directions as if free to change length */
} nr_step_rays;

typedef struct {
  /* what to do */
  uint64_t seed;
  int64_t step; /* 0, 1, ...: random numbers; Adam counts from 1 */
  int64_t rays;
  float march_step, march_growth, march_near; /* in box sides: see nr_march */
  float lowest_transmittance, lowest_weight;
  float fade; /* gradients of samples nearer than this are scaled by (t / fade)^2; box sides, 0: none */
  float distortion, depth, opacity; /* weights of these losses (ngp_weights.h) */
  int32_t active_levels;   /* of the grid; those beyond learn nothing, and move no ray */
  float huber_delta, background_weight; /* the weight of a ray that was drawn from a background block */
  int32_t random_background;
  float background[3];
  float learning_rate, beta1, beta2, epsilon, weight_decay; /* the L2 term is for the networks only */
  nr_adam_state table, density_weights, color_weights;
  const nr_step_rays *rays_told; /* or NULL */
  int32_t gradients_only; /* leave the gradients where they are and update nothing */
  int32_t profile;
  /* what came of it */
  double loss, squared_error; /* means over rays and channels */
  int64_t evaluated, selected;
  double stage_seconds[10]; /* thread seconds, if profile; see nr_ngp_stage_name */
} nr_ngp_step;

/* Working memory that is kept between calls; one call at a time may use it. */
NR_API void *nr_ngp_workspace_create(void);
NR_API void nr_ngp_workspace_destroy(void *workspace);
NR_API const char *nr_ngp_stage_name(int stage); /* NULL past the last */

/* One optimisation step: draw rays, march, evaluate, composite, differentiate, Adam. Samples are
 * dropped once transmittance falls below lowest_transmittance; samples whose weight is not above
 * lowest_weight have no colour and no gradient. */
NR_API int nr_ngp_train_step(const nr_ngp *field, const nr_pixels *pixels, nr_ngp_step *step, void *workspace,
                             int threads);

/* origins, directions (rays, 3) in the model frame, directions unit; rgb without background (rays, 3),
 * opacity (rays), distance (rays): sum of weight * distance; samples (rays): how many were seen, or NULL.
 * crop (3, 4), or NULL: samples that it sends from the unit cube out of [-1, 1]^3 are left out.
 * evaluated, selected: counts of samples. */
NR_API int nr_ngp_render(const nr_ngp *field, const float *origins, const float *directions, int64_t rays,
                         float march_step, float march_growth, float march_near, float lowest_transmittance,
                         float lowest_weight, const float *crop, float *rgb, float *opacity, float *distance,
                         int32_t *samples, int64_t *evaluated, int64_t *selected, void *workspace, int threads);

/* density (n) per model unit at points (n, 3) of the model frame; 0 outside the box if there is one level. */
NR_API int nr_ngp_density(const nr_ngp *field, const float *points, int64_t n, float *density, void *workspace,
                          int threads);

/* Looks at some cells of the occupancy grid again (render/samplers/occupancy.py defines which) and sets
 * the bits anew. density (levels R, R, R), x fastest, 1 / box side (and not divided by how far out it is); bits are
 * field->bits, written here. */
typedef struct {
  float *density;
  uint64_t *bits;
  uint64_t seed;
  int64_t step, updates, stride; /* updates: how many were made before; 0 visits every cell */
  float march_step, decay, thinnest;
} nr_occupancy_update;
NR_API int nr_ngp_update_occupancy(const nr_ngp *field, const nr_occupancy_update *update, void *workspace,
                                   int threads);

/* Asks for huge pages under an array that is read at random; whatever the system answers, the array stays
 * as it is. */
NR_API int nr_use_huge_pages(void *data, int64_t bytes, int threads);

/* table_half = table, all of it. */
NR_API int nr_table_to_half(const float *table, int64_t n, uint16_t *half, int threads);
