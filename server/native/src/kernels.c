/* One step of every cell for a chunk of rows: products of packed weights, then activations.
 *
 * The arithmetic contract. Every sum is one chain of float32 operations: it starts from the row of `base`, then for
 * k = 0, 1, 2, ... sum = fma(x[k], W[k][j], sum) over the inputs, if they are multiplied, then over the states. Which rows
 * share a tile, the vector width and the order of columns change no chain, so a state has the same bits in any company, on
 * any CPU. Cells, with i, f, o, r, z sigmoids:
 *
 *   RNN   h' = a = tanh(sum) or relu(sum); with a leak rate below 1 h' = fma(leak, a, keep * h), where leak is the rate and
 *         keep is 1 - rate, computed in double, each rounded to float32
 *   LSTM  c' = fma(f, c, i * tanh(g)), h' = o * tanh(c'); with a projection h' = chain of fma from 0 over k = 0, 1, 2, ...
 *   GRU   n = tanh(fma(r, n_state, n_input)), h' = fma(z, h - n, n)
 *
 * h' and c' are stored by the rule of `canonical`.
 */
#include "kernels.h"

#include "activations.h"

#define INLINE static inline __attribute__((always_inline))
#define PANEL (PANEL_VECTORS * LANES)
#define MAX_VECTORS 8 /* of accumulators in a row */

_Static_assert(BLOCK_UNITS % PANEL == 0, "a block has whole panels");

/* Accumulates a tile of `rows` x (panels * vectors) vectors. `rows`, `vectors` and `panels` are constants where this is
 * inlined, so that the accumulators live in registers. Panels follow one another in `weights`. */
INLINE void accumulate(const int rows, const int vectors, const int panels, const float *const *x, size_t k_count,
                       const float *weights, const float *const *start, size_t column, float *sums, size_t stride) {
    vec acc[TILE_ROWS][MAX_VECTORS];
    const float *inputs[TILE_ROWS];
    const size_t width = (size_t)vectors * LANES;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        inputs[r] = x[r];
#pragma GCC unroll 8
        for (int v = 0; v < vectors * panels; v++) acc[r][v] = vec_load(start[r] + column + (size_t)v * LANES);
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < k_count; k++) {
        vec row[MAX_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors * panels; v++) {
            const size_t panel = (size_t)(v / vectors), lane = (size_t)(v % vectors) * LANES;
            row[v] = vec_load(weights + (panel * k_count + k) * width + lane);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vec input = vec_splat(inputs[r][k]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors * panels; v++) acc[r][v] = vec_fma(input, row[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors * panels; v++) vec_store(sums + (size_t)r * stride + (size_t)v * LANES, acc[r][v]);
    }
}

typedef void (*tile)(const float *const *x, size_t k_count, const float *weights, const float *const *start, size_t column,
                     float *sums, size_t stride);

#define TILE(rows, vectors, panels)                                                                                \
    static void tile_##rows##_##vectors##_##panels(const float *const *x, size_t k_count, const float *weights,    \
                                                   const float *const *start, size_t column, float *sums,          \
                                                   size_t stride) {                                                \
        accumulate(rows, vectors, panels, x, k_count, weights, start, column, sums, stride);                       \
    }
#define TILES(vectors)                                                                                             \
    TILE(1, vectors, 1) TILE(2, vectors, 1) TILE(3, vectors, 1) TILE(4, vectors, 1) TILE(5, vectors, 1)            \
    TILE(6, vectors, 1)
#define NAMES(vectors)                                                                                             \
    {tile_1_##vectors##_1, tile_2_##vectors##_1, tile_3_##vectors##_1, tile_4_##vectors##_1, tile_5_##vectors##_1, \
     tile_6_##vectors##_1}
#define EXPANDED_TILE(rows, vectors, panels) TILE(rows, vectors, panels)
#define EXPANDED_NAME(rows, vectors, panels) tile_##rows##_##vectors##_##panels
#define TILE_NAME(rows, vectors, panels) EXPANDED_NAME(rows, vectors, panels)

TILES(1)
TILES(2)
#if PANEL_VECTORS == 4
TILES(3)
TILES(4)
static const tile tiles[PANEL_VECTORS][TILE_ROWS] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4)};
#else
static const tile tiles[PANEL_VECTORS][TILE_ROWS] = {NAMES(1), NAMES(2)};
#endif
#if ONE_ROW_PANELS > 1
EXPANDED_TILE(1, PANEL_VECTORS, ONE_ROW_PANELS)
#endif
#if TWO_ROW_PANELS > 1
EXPANDED_TILE(2, PANEL_VECTORS, TWO_ROW_PANELS)
#endif

/* Returns how many whole panels of `width` columns are accumulated at once for `rows` rows, and the tile that does it. */
static size_t panels_at_once(size_t rows, size_t width, tile *found) {
#if ONE_ROW_PANELS > 1
    if (rows == 1 && width >= ONE_ROW_PANELS * PANEL) {
        *found = TILE_NAME(1, PANEL_VECTORS, ONE_ROW_PANELS);
        return ONE_ROW_PANELS;
    }
#endif
#if TWO_ROW_PANELS > 1
    if (rows == 2 && width >= TWO_ROW_PANELS * PANEL) {
        *found = TILE_NAME(2, PANEL_VECTORS, TWO_ROW_PANELS);
        return TWO_ROW_PANELS;
    }
#endif
    (void)rows, (void)width, (void)found;
    return 1;
}

/* Adds x times a block of `width` packed columns to `start` (at `column`), into `sums`. A panel stays in the cache while
 * all rows use it. */
static void multiply(const float *const *x, size_t rows, size_t k_count, const float *weights, size_t width,
                     const float *const *start, size_t column, float *sums, size_t stride) {
    for (size_t done = 0; done < width;) {
        size_t vectors = (width - done) / LANES < PANEL_VECTORS ? (width - done) / LANES : PANEL_VECTORS;
        tile all_rows = NULL;
        size_t columns = panels_at_once(rows, width - done, &all_rows) * vectors * LANES;
        for (size_t row = 0; row < rows; row += TILE_ROWS) {
            size_t count = rows - row < TILE_ROWS ? rows - row : TILE_ROWS;
            tile compute = all_rows ? all_rows : tiles[vectors - 1][count - 1];
            compute(x + row, k_count, weights, start + row, column + done, sums + row * stride + done, stride);
        }
        weights += k_count * columns;
        done += columns;
    }
}

/* One block of units of a step: its units, and its sums with one part after the other. */
typedef struct block {
    size_t first, units, padded;
    float *sums;
    size_t stride;
} block;

static block block_at(size_t index, size_t hidden, float *scratch) {
    size_t first = index * BLOCK_UNITS;
    size_t units = hidden - first < BLOCK_UNITS ? hidden - first : BLOCK_UNITS;
    size_t padded = (units + LANES - 1) / LANES * LANES;
    /* 16 more floats, so that the rows of a tile do not fall into the same set of the L1 cache. */
    return (block){first, units, padded, scratch, MAX_PARTS * BLOCK_UNITS + 16};
}

/* Multiplies `parts` parts of a block, from `first_part` of the sums on. */
static void multiply_parts(const ur_step *step, const block *b, const float *const *x, size_t k_count,
                           const float *weights, size_t first_part, size_t parts, const float *const *start) {
    const float *packed = weights + b->first * parts * k_count;
    for (size_t part = 0; part < parts; part++) {
        size_t at = first_part + part;
        /* `base` has its parts `hidden` apart, sums have them BLOCK_UNITS apart. */
        size_t column = start == step->base ? at * step->hidden + b->first : at * BLOCK_UNITS;
        multiply(x, step->rows, k_count, packed, b->padded, start, column, b->sums + at * BLOCK_UNITS, b->stride);
        packed += k_count * b->padded;
    }
}

static void copy_part(const ur_step *step, const block *b, size_t part) {
    for (size_t row = 0; row < step->rows; row++) {
        memcpy(b->sums + row * b->stride + part * BLOCK_UNITS, step->base[row] + part * step->hidden + b->first,
               sizeof(float) * b->units);
    }
}

/* Computes a block's sums: base, inputs, and with `state_weights` states. */
static void compute_sums(const ur_step *step, const block *b) {
    const ur_cell_shape shape = ur_shape_of(step->cell);
    const float *rows[CHUNK_ROWS];
    for (size_t row = 0; row < step->rows; row++) rows[row] = b->sums + row * b->stride;
    const float *const *start = step->base;
    for (int source = 0; source < 2 && step->x[source]; source++) {
        multiply_parts(step, b, step->x[source], step->x_size[source], step->x_weights[source], shape.first_input_part,
                       shape.input_parts, start);
        start = rows;
    }
    /* What no input added to comes from `base`: the GRU's first part if inputs were multiplied, its last if not. */
    if (shape.first_input_part && start == rows) copy_part(step, b, 0);
    if (!step->state_weights) return;
    multiply_parts(step, b, step->h, step->state, step->state_weights, 0, shape.state_parts, start);
    if (shape.first_input_part && start != rows) copy_part(step, b, shape.parts - 1);
}

static void finish_rnn(const ur_step *step, const block *b) {
    for (size_t row = 0; row < step->rows; row++) {
        const float *sums = b->sums + row * b->stride;
        for (size_t unit = 0; unit < b->units; unit += LANES) {
            vec sum = vec_load(sums + unit);
            vec h = canonical(step->cell == UR_RNN_TANH ? vec_tanh(sum) : vec_relu(sum));
            vec_store_part(step->h_out[row] + b->first + unit, h, b->units - unit);
        }
    }
}

static void finish_leaky_rnn(const ur_step *step, const block *b) {
    const vec leak = vec_splat(step->leak), keep = vec_splat(step->keep);
    for (size_t row = 0; row < step->rows; row++) {
        const float *sums = b->sums + row * b->stride;
        for (size_t unit = 0; unit < b->units; unit += LANES) {
            vec sum = vec_load(sums + unit);
            vec h = vec_load_part(step->h[row] + b->first + unit, b->units - unit);
            vec a = step->cell == UR_RNN_TANH ? vec_tanh(sum) : vec_relu(sum);
            vec_store_part(step->h_out[row] + b->first + unit, canonical(vec_fma(leak, a, keep * h)), b->units - unit);
        }
    }
}

static void finish_lstm(const ur_step *step, const block *b, float *hidden) {
    for (size_t row = 0; row < step->rows; row++) {
        const float *sums = b->sums + row * b->stride;
        float *h_out = (step->projection_weights ? hidden + row * step->hidden : step->h_out[row]) + b->first;
        for (size_t unit = 0; unit < b->units; unit += LANES) {
            size_t count = b->units - unit;
            vec i = vec_sigmoid(vec_load(sums + unit)), f = vec_sigmoid(vec_load(sums + BLOCK_UNITS + unit));
            vec g = vec_tanh(vec_load(sums + 2 * BLOCK_UNITS + unit));
            vec o = vec_sigmoid(vec_load(sums + 3 * BLOCK_UNITS + unit));
            vec c = canonical(vec_fma(f, vec_load_part(step->c[row] + b->first + unit, count), i * g));
            vec_store_part(step->c_out[row] + b->first + unit, c, count);
            vec_store_part(h_out + unit, canonical(o * vec_tanh(c)), count);
        }
    }
}

static void finish_gru(const ur_step *step, const block *b) {
    for (size_t row = 0; row < step->rows; row++) {
        const float *sums = b->sums + row * b->stride;
        for (size_t unit = 0; unit < b->units; unit += LANES) {
            vec n_state = vec_load(sums + unit), n_input = vec_load(sums + 3 * BLOCK_UNITS + unit);
            vec r = vec_sigmoid(vec_load(sums + BLOCK_UNITS + unit));
            vec z = vec_sigmoid(vec_load(sums + 2 * BLOCK_UNITS + unit));
            vec n = vec_tanh(vec_fma(r, n_state, n_input));
            vec h = vec_load_part(step->h[row] + b->first + unit, b->units - unit);
            vec_store_part(step->h_out[row] + b->first + unit, canonical(vec_fma(z, h - n, n)), b->units - unit);
        }
    }
}

/* Multiplies an LSTM's hidden rows, which lie in the scratch, by W_hr. */
static bool project(const ur_step *step, float *scratch, const float *hidden, ur_watch *watch) {
    static const float zeros[BLOCK_UNITS];
    const float *x[CHUNK_ROWS], *start[CHUNK_ROWS];
    for (size_t row = 0; row < step->rows; row++) {
        x[row] = hidden + row * step->hidden;
        start[row] = zeros;
    }
    for (size_t index = 0; index < ur_block_count(step->state); index++) {
        block b = block_at(index, step->state, scratch);
        multiply(x, step->rows, step->hidden, step->projection_weights + b.first * step->hidden, b.padded, start, 0, b.sums,
                 b.stride);
        for (size_t row = 0; row < step->rows; row++) {
            for (size_t unit = 0; unit < b.units; unit += LANES) {
                vec h = canonical(vec_load(b.sums + row * b.stride + unit));
                vec_store_part(step->h_out[row] + b.first + unit, h, b.units - unit);
            }
        }
        if (ur_must_stop(watch, step->rows * b.units * step->hidden)) return true;
    }
    return false;
}

static uint64_t block_work(const ur_step *step) {
    return (uint64_t)step->rows * BLOCK_UNITS * MAX_PARTS * (step->state + step->x_size[0] + step->x_size[1]);
}

static bool run_step(const ur_step *step, ur_watch *watch) {
    UR_ASSERT(step->rows >= 1 && step->rows <= CHUNK_ROWS);
    float *hidden = step->scratch + CHUNK_ROWS * (MAX_PARTS * BLOCK_UNITS + 16) + OVERREAD;
    for (size_t at = step->first_block; at < step->end_block; at++) {
        size_t index = step->backwards ? step->first_block + step->end_block - 1 - at : at;
        block b = block_at(index, step->hidden, step->scratch);
        compute_sums(step, &b);
        if (step->cell == UR_LSTM) {
            finish_lstm(step, &b, hidden);
        } else if (step->cell == UR_GRU) {
            finish_gru(step, &b);
        } else if (step->keep > 0) {
            finish_leaky_rnn(step, &b);
        } else {
            finish_rnn(step, &b);
        }
        if (ur_must_stop(watch, block_work(step))) return true;
    }
    return step->projection_weights && project(step, step->scratch, hidden, watch);
}

static bool run_input_sums(const ur_step *step, ur_watch *watch) {
    const ur_cell_shape shape = ur_shape_of(step->cell);
    for (size_t index = step->first_block; index < step->end_block; index++) {
        block b = block_at(index, step->hidden, step->scratch);
        compute_sums(step, &b);
        for (size_t row = 0; row < step->rows; row++) {
            for (size_t part = 0; part < shape.parts; part++) {
                memcpy(step->h_out[row] + part * step->hidden + b.first, b.sums + row * b.stride + part * BLOCK_UNITS,
                       sizeof(float) * b.units);
            }
        }
        if (ur_must_stop(watch, block_work(step))) return true;
    }
    return false;
}

#define MAP(name, function)                                                                                        \
    static void name(float *values, size_t count) {                                                                \
        for (size_t at = 0; at < count; at += LANES) {                                                             \
            vec_store_part(values + at, function(vec_load_part(values + at, count - at)), count - at);             \
        }                                                                                                          \
    }
MAP(map_canonical, canonical)
MAP(map_tanh, vec_tanh)
MAP(map_sigmoid, vec_sigmoid)

const ur_kernels ISA_SYMBOL = {
    .name = ISA_NAME,
    .lanes = LANES,
    .panel = PANEL,
    .step = run_step,
    .input_sums = run_input_sums,
    .canonicalize = map_canonical,
    .tanh = map_tanh,
    .sigmoid = map_sigmoid,
};
