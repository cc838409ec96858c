/* The prefix trees and state tables of a network, and one call that uses them. */
#ifndef UNROLLED_STATES_H
#define UNROLLED_STATES_H

#include "hash_map.h"
#include "memory.h"
#include "threads.h"
#include "weights.h"

/* Of both directions together, and symbols of a call: so that no 32-bit number of a row overflows. */
#define MAX_ROWS ((size_t)1 << 30)

/* Multiplications that take as long as finding one symbol, and as writing one float of a reply. */
#define SYMBOL_WORK 64
#define FLOAT_WORK 8
/* And as drawing one number of a random word's vector. */
#define DRAWING_WORK 256

/* Rows that a stopped call left without states: they stay in the index and are computed when they are next needed. */
typedef struct pending_rows {
    uint8_t *bits;
    size_t nbytes, count;
} pending_rows;

static inline bool ur_is_pending(const pending_rows *pending, uint32_t row) {
    return pending->count && row / 8 < pending->nbytes && pending->bits[row / 8] >> row % 8 & 1;
}

/* The prefixes of one direction. Rows 1 to root_count are the initial states; row 0 is unused. */
typedef struct prefix_tree {
    hash_map rows; /* (parent row, symbol) -> row */
    uint32_t next_row;
    pending_rows pending;
    row_table *h, *c;     /* for each layer that depends on the prefix alone; c of an LSTM */
    hash_map input_rows;  /* symbol -> row of input_sums, unless one-hot */
    row_table input_sums;
} prefix_tree;

struct ur_states {
    const ur_weights *weights;
    int lock;
    uint32_t root_count;
    float *start_h, *start_c; /* (layers * directions, root_count, state or hidden) */
    int32_t tree_layers;      /* layers whose states depend on the prefix alone: all in one direction, else the first */
    prefix_tree trees[2];
    /* Above a bidirectional first layer a state depends on its whole word: rows by word and position, both directions side
     * by side. */
    hash_map places; /* forward row of the last symbol -> the word's first place */
    uint32_t next_place;
    pending_rows pending_words; /* by first place */
    row_table *above_h, *above_c;
    size_t row_count;
    row_table tables[]; /* memory of h, c, above_h and above_c */
};

/* A prefix to compute. */
typedef struct new_row {
    uint32_t row, parent, depth;
    int32_t symbol;
} new_row;

/* A word of a call. */
typedef struct call_word {
    size_t first, length; /* of its symbols */
    uint32_t root;        /* the row of its initial state */
    uint32_t place;       /* its first place above a bidirectional first layer */
} call_word;

typedef struct ur_words {
    const int32_t *symbols, *lengths, *starts;
    size_t count;
} ur_words;

/* What one thread needs to run kernels: the pointers of a chunk of rows, and memory. */
typedef struct worker {
    const float *base[CHUNK_ROWS], *x[2][CHUNK_ROWS], *h[CHUNK_ROWS], *c[CHUNK_ROWS];
    float *h_out[CHUNK_ROWS], *c_out[CHUNK_ROWS];
    ur_step step;
    ur_watch watch;
    float *scratch;
    float *vectors; /* of the random words of a chunk of rows */
} worker;

typedef struct ur_call {
    ur_states *states;
    const int32_t *symbols;
    size_t word_count, symbol_count, max_length, max_rows;
    ur_watch watch;
    size_t thread_count; /* that may share the call */
    size_t worker_count; /* threads that share its steps; 1 if they are too small */
    worker *workers;
    call_word *words;
    uint32_t *paths[2]; /* each symbol's row in a tree, at its place in the word */
    new_row *new_rows;
    uint32_t *new_words; /* numbers of the words to compute above the first layer */
    size_t new_word_count;
    uint32_t *order; /* numbers of new rows by depth, or of words by length */
    size_t *counts;
} ur_call;

static inline uint32_t ur_root(const ur_words *words, size_t word) {
    return 1 + (words->starts ? (uint32_t)words->starts[word] : 0);
}

static inline uint64_t ur_key(uint32_t parent, uint32_t symbol) { return (uint64_t)parent << 32 | symbol; }

/* Returns the multiplications that take as long as drawing a symbol's vector. */
static inline size_t ur_drawing_work(const ur_spec *spec) {
    return spec->has_random_words ? DRAWING_WORK * spec->inputs : 0;
}

/* Returns an initial state: h or, for an LSTM, c. */
static inline const float *ur_start(const ur_states *states, int32_t layer, int32_t direction, uint32_t root, bool is_c) {
    const ur_weights *weights = states->weights;
    size_t at = (size_t)(layer * weights->spec.directions + direction) * states->root_count + root - 1;
    return is_c ? states->start_c + at * weights->spec.hidden : states->start_h + at * weights->state_size;
}

static inline int32_t ur_upper_layers(const ur_states *states) {
    return states->weights->spec.layers - states->tree_layers;
}

/* Drops all computed states; the caller holds the lock. Tables keep their memory for the next states: where a hypervisor
 * takes freed memory back, 2 MB cost 5 ms when they are first written. */
void ur_drop_states(ur_states *states);
/* Gives the memory of dropped states back. */
void ur_release_tables(ur_states *states);
/* Finds or adds the rows of all symbols and the places of all words; computes what is missing. */
int ur_compute(ur_call *call);
int ur_write_reply(ur_call *call, const ur_reply *reply);

#endif
