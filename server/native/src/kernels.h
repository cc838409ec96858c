/* The interface of kernels.c, which is compiled once for each instruction set. */
#ifndef UNROLLED_KERNELS_H
#define UNROLLED_KERNELS_H

#include <assert.h>
#include <stdbool.h>

#include "platform.h"
#include "unrolled_core.h"

#ifdef UR_DEBUG
#define UR_ASSERT(condition) assert(condition)
#else
#define UR_ASSERT(condition) ((void)0)
#endif

/* Rows of one call of a kernel, and units (columns of a gate) that it finishes at once, so that their sums stay in the
 * L2 cache between product and activation. */
#define CHUNK_ROWS 96
#define TILE_ROWS 6 /* rows whose sums are in registers at once */
#define BLOCK_UNITS 64
/* Kernels read up to so many floats past the end of a row of sums. */
#define OVERREAD BLOCK_UNITS
#define MAX_PARTS 4

int64_t ur_clock_ns(void); /* monotonic */

/* Stops a call. `work` counts multiplications since the last check. */
typedef struct ur_watch {
    const volatile int32_t *stop;
    int64_t deadline_ns;
    uint64_t work;
    bool has_stopped; /* the growth of a hash map */
} ur_watch;

/* Returns whether the call must stop; reads flag and clock about every 10 ms of work. */
bool ur_must_stop(ur_watch *watch, uint64_t work);

/* The parts of a row of sums, `hidden` columns each. RNN: the sum. LSTM: torch's i, f, g, o. GRU: the recurrent sum of n,
 * then r, z, and the input sum of n. Inputs add to `input_parts` from `first_input_part` on, states to the first
 * `state_parts`. */
typedef struct ur_cell_shape {
    size_t parts, first_input_part, input_parts, state_parts;
} ur_cell_shape;

static inline ur_cell_shape ur_shape_of(int32_t cell) {
    static const ur_cell_shape shapes[] = {{1, 0, 1, 1}, {1, 0, 1, 1}, {4, 0, 4, 4}, {4, 1, 3, 3}};
    return shapes[cell];
}

/* One step of one layer for some rows. */
typedef struct ur_step {
    int32_t cell;
    size_t hidden, state; /* state: columns of h, which differ from hidden with a projection */
    size_t rows;          /* 1 to CHUNK_ROWS */
    size_t first_block, end_block; /* of BLOCK_UNITS units; all, unless threads share the columns */
    bool backwards;       /* walks the blocks from the last: what was read last is still in the cache */
    const float *const *base;     /* (parts * hidden): where the sums start, biases and looked-up inputs included */
    const float *const *x[2];     /* inputs to multiply; NULL if none */
    size_t x_size[2];
    const float *x_weights[2];
    const float *const *h;
    const float *const *c;        /* LSTM */
    float leak, keep;             /* RNN; keep is 0 unless it is leaky */
    const float *state_weights, *projection_weights; /* projection_weights: NULL if none */
    float *const *h_out;
    float *const *c_out;
    float *scratch; /* ur_scratch_floats */
} ur_step;

typedef bool ur_kernel(const ur_step *step, ur_watch *watch);

typedef struct ur_kernels {
    const char *name;
    size_t lanes;
    size_t panel; /* columns of a panel of packed weights */
    /* Computes h_out and c_out; returns whether the call must stop, and then leaves some rows unwritten. */
    ur_kernel *step;
    /* Computes the sums that inputs add to `base` into h_out, (parts * hidden) each; uses base and x. */
    ur_kernel *input_sums;
    /* Applies the rule for stored states. */
    void (*canonicalize)(float *values, size_t count);
    /* Apply activations, for tests. */
    void (*tanh)(float *values, size_t count);
    void (*sigmoid)(float *values, size_t count);
} ur_kernels;

static inline size_t ur_block_count(size_t units) { return (units + BLOCK_UNITS - 1) / BLOCK_UNITS; }

/* Returns the scratch that `step` needs for CHUNK_ROWS rows. */
static inline size_t ur_scratch_floats(size_t hidden) {
    return CHUNK_ROWS * (MAX_PARTS * BLOCK_UNITS + 16 + hidden) + OVERREAD;
}

/* Columns of one part's block in packed weights: whole vectors. */
static inline size_t ur_padded_units(const ur_kernels *kernels, size_t units) {
    return (units + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
}

/* Floats of `parts` packed parts with `k_count` rows each. */
static inline size_t ur_packed_floats(const ur_kernels *kernels, size_t parts, size_t hidden, size_t k_count) {
    size_t rest = hidden % BLOCK_UNITS;
    return parts * k_count * (hidden - rest + ur_padded_units(kernels, rest));
}

/* Returns the kernels for a name, or the fastest for NULL; NULL if this CPU has no such instruction set. */
const ur_kernels *ur_find_kernels(const char *name);
const ur_kernels *ur_selected_kernels(void);

/* The floating-point environment of the calling thread: round to nearest, no flush to zero. Other libraries in the process
 * change it, and new threads inherit it. */
typedef uint64_t ur_float_mode;
ur_float_mode ur_enter_float_mode(void);
void ur_leave_float_mode(ur_float_mode saved);

#endif
