/* The packed parameters of a network. */
#ifndef UNROLLED_WEIGHTS_H
#define UNROLLED_WEIGHTS_H

#include "kernels.h"

/* One direction of one layer. */
typedef struct layer_weights {
    float *base;         /* (base_rows, parts * hidden): one row per one-hot symbol, or the biases */
    size_t base_rows;
    size_t x_size[2];    /* the columns of x, in two halves above a bidirectional layer; 0 for one-hot symbols */
    float *x[2];         /* packed */
    float *state;        /* packed */
    float *projection;   /* packed, or NULL */
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
