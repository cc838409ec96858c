/* The packed parameters of a network. */
#ifndef UNROLLED_WEIGHTS_H
#define UNROLLED_WEIGHTS_H

#include "kernels.h"

/* A packed matrix: gates of `units` columns each, with k_count numbers a column; nothing if k_count is 0. */
typedef struct packed_matrix {
    float *packed;
    size_t k_count, units, first_part, parts; /* of the sums; see ur_cell_shape */
} packed_matrix;

/* Those of a layer; inputs above a bidirectional layer have two halves. */
enum { INPUTS, OTHER_INPUTS, STATES, PROJECTION, MATRICES };

/* One direction of one layer. */
typedef struct layer_weights {
    float *base; /* (base_rows, parts * hidden): one row per one-hot symbol, then the biases */
    size_t base_rows;
    packed_matrix matrices[MATRICES];
} layer_weights;

struct ur_weights {
    const ur_kernels *kernels;
    ur_spec spec;
    size_t state_size, output_size, sum_size;
    float *zero_vector; /* of symbol vector_count */
    layer_weights layers[];
};

static inline bool ur_is_lstm(const ur_spec *spec) { return spec->cell == UR_LSTM; }
static inline size_t ur_state_size(const ur_spec *spec) { return spec->projection ? spec->projection : spec->hidden; }
static inline size_t ur_sum_size(const ur_spec *spec) { return ur_shape_of(spec->cell).parts * spec->hidden; }

#endif
