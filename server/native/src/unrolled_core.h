/* The C interface of the native core. Python calls it through ctypes; see engine/core.py.
 *
 * A network is two objects. `ur_weights` holds packed parameters and is immutable. `ur_states` holds the prefix tree
 * and the computed states of one set of initial states; it belongs to one `ur_weights`, which must outlive it.
 * Different `ur_states` may be used by different threads at once; calls on one `ur_states` are serialized by its lock.
 * The caller validates sizes and ranges; debug builds assert them. Matrices are row-major and contiguous.
 */
#ifndef UNROLLED_CORE_H
#define UNROLLED_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "platform.h"

#define UR_ABI_VERSION 2

#if defined(__GNUC__)
#define UR_EXPORT __attribute__((visibility("default")))
#else
#define UR_EXPORT
#endif

enum ur_status { UR_OK, UR_FULL, UR_STOPPED, UR_NO_MEMORY };
enum ur_cell { UR_RNN_TANH, UR_RNN_RELU, UR_LSTM, UR_GRU };
enum ur_output { UR_ALL, UR_DISTINCT, UR_LAST, UR_MEAN, UR_MAX, UR_NONE };

UR_EXPORT int ur_abi_version(void);

/* Instruction sets. `ur_isa_at` returns the names that this CPU supports, fastest first, then NULL. */
UR_EXPORT const char *ur_isa_at(size_t index);
/* Selects an instruction set for all later calls of the process; returns 0, or -1 if the CPU doesn't support it. */
UR_EXPORT int ur_select_isa(const char *name);
UR_EXPORT const char *ur_isa(void);

/* Keeps up to so many bytes of released mappings for the next ones, 16 MB at first. Mappings that are allocated later lower
 * the limit, and those that are released raise it. */
UR_EXPORT void ur_keep_released(size_t limit);
/* Sets how many threads, the caller's included, may share the work of one call, at most 32; 1 at first. The threads are
 * started when they are first needed; a forked child starts its own. A smaller number than before ends all of them, and waits
 * for those that share the work of a call: after 1 the core has no threads. */
UR_EXPORT void ur_set_threads(size_t count);

/* Parameters. The generator is torch's CPU generator: MT19937 seeded with 32 bits. */
typedef struct ur_generator {
    uint32_t words[624];
    uint32_t next;
} ur_generator;
UR_EXPORT void ur_generator_seed(ur_generator *generator, uint32_t seed);
/* Fills `out` as torch.empty(count).uniform_(low, high) does. */
UR_EXPORT void ur_draw_uniform(ur_generator *generator, float *out, size_t count, float low, float high);
/* Fills `out` as the parameters of torch.nn.RNNBase are drawn, from -1 / sqrt(hidden) to 1 / sqrt(hidden). */
UR_EXPORT void ur_draw_parameters(ur_generator *generator, float *out, size_t count, size_t hidden);
/* Fills `out` as torch.empty(count).normal_() does on x86 with AVX2. */
UR_EXPORT void ur_draw_normal(ur_generator *generator, float *out, size_t count);
/* Draws one number of 24 bits for each value, as torch.rand does, and sets the value to 0 unless the number is below `limit`. */
UR_EXPORT void ur_draw_mask(ur_generator *generator, float *values, size_t count, uint32_t limit);
/* Multiplies each value by `factor`. */
UR_EXPORT void ur_scale(float *values, size_t count, float factor);
/* Fills `out` with the vector of a random word: ur_draw_normal from a generator whose seed mixes `seed` and `symbol`. */
UR_EXPORT void ur_draw_word(uint32_t seed, int32_t symbol, float *out, size_t size);
/* Returns the largest absolute eigenvalue of an n x n matrix; NAN if memory is short. */
UR_EXPORT double ur_spectral_radius(const float *matrix, size_t n);
/* Multiplies the matrix by one float32 number, which makes its largest absolute eigenvalue `radius`, unless that is 0.
 * Returns UR_OK, UR_STOPPED (see ur_run) or UR_NO_MEMORY. */
UR_EXPORT int ur_scale_to_radius(float *matrix, size_t n, double radius, const volatile int32_t *stop,
                                 int64_t deadline_ns);

typedef struct ur_spec {
    int32_t cell;         /* ur_cell */
    int32_t layers;
    int32_t directions;   /* 1 or 2 */
    int32_t is_one_hot;   /* symbols select columns of weight_ih; otherwise they select vectors */
    int32_t has_random_words; /* vectors come from ur_draw_word with word_seed */
    uint32_t word_seed;
    size_t hidden;        /* hidden_size */
    size_t projection;    /* proj_size; 0 for none */
    size_t inputs;        /* input_size of layer 0: the number of symbols if one-hot */
    size_t symbols;       /* the number of symbols; one more stands for zeros if one-hot */
    const float *vectors; /* (vector_count, inputs) unless one-hot; must outlive the weights */
    size_t vector_count;  /* symbol vector_count stands for zeros, vector_count + 1 for `mean_vector` */
    const float *mean_vector;
    uint64_t hash_seed;   /* random, so that no client can choose words whose prefixes collide */
    double leak_rate;     /* of an RNN, above 0; 1 for all others */
} ur_spec;

/* One direction of one layer, in torch's shapes and gate order; unused pointers are NULL. */
typedef struct ur_parameters {
    const float *weight_ih; /* (gates * hidden, inputs) */
    const float *weight_hh; /* (gates * hidden, state) */
    const float *bias_ih;   /* (gates * hidden,) */
    const float *bias_hh;
    const float *weight_hr; /* (projection, hidden) */
} ur_parameters;

typedef struct ur_weights ur_weights;
typedef struct ur_states ur_states;

/* Packs parameters: layers * directions of them, layers from the input on, forward direction first. NULL if memory
 * is short. The parameters are copied. */
UR_EXPORT ur_weights *ur_weights_new(const ur_spec *spec, const ur_parameters *parameters);
UR_EXPORT void ur_weights_free(ur_weights *weights);
/* Returns the bytes of `ur_weights_new` without making one. */
UR_EXPORT size_t ur_weights_nbytes(const ur_spec *spec);
/* Returns what one more row of states costs at most, in tables and indexes. Memory is allocated for more rows at a time:
 * a table may take twice its rows up to 1 MB, and up to 2 MB more beyond. */
UR_EXPORT size_t ur_row_nbytes(const ur_spec *spec);

/* Makes an empty table. Words start from zeros if `start_count` is 0, else from one of `start_count` initial states:
 * h is (layers * directions, start_count, state), c (layers * directions, start_count, hidden) for an LSTM. */
UR_EXPORT ur_states *ur_states_new(const ur_weights *weights, size_t start_count, const float *h, const float *c);
UR_EXPORT void ur_states_free(ur_states *states);
/* Drops all computed states and gives their memory back; initial states stay. */
UR_EXPORT void ur_states_clear(ur_states *states);
/* Returns the bytes of tables, indexes and initial states as they are allocated: pages that a large table has not written yet
 * don't count. Released mappings that are kept, and the working memory of a call, about 32 bytes a symbol, come on top.
 * Takes no lock, as `ur_states_rows`: for the thread that runs calls. */
UR_EXPORT size_t ur_states_nbytes(const ur_states *states);
/* Returns the number of computed rows: one per prefix and direction, and above a bidirectional first layer one per
 * word, position and direction. */
UR_EXPORT size_t ur_states_rows(const ur_states *states);

/* Words are four arguments: the symbols of all words, one word after the other; the length of each word; the
 * initial state of each word, or NULL if start_count is 0; and the number of words. */

typedef struct ur_reply {
    int32_t output;         /* ur_output */
    float *values;          /* ALL: word w, position p at w * word_stride + p * position_stride (in floats), zeros from
                               the word's end to position_count. LAST, MEAN, MAX: word w at w * word_stride. DISTINCT:
                               row n at n * output_size, for each number n in `numbers`; row 0 is not written. */
    size_t word_stride;
    size_t position_stride;
    size_t position_count;
    const int32_t *numbers; /* DISTINCT: (word, position_count) numbers >= 1; those past a word's end are ignored */
    size_t number_count;    /* DISTINCT: larger than every number */
    float *h_n;             /* NULL, or final states: layer and direction l, word w at (l * state_words + w) * state */
    float *c_n;             /* NULL, or the same with hidden instead of state */
    size_t state_words;
} ur_reply;

/* Computes the states that are missing and writes the reply.
 *
 * Returns UR_FULL if the table would hold more than max_rows rows (0: no limit), and drops all states but keeps their memory
 * for the next ones; or UR_NO_MEMORY, and clears the table if rows were added.
 * Returns UR_STOPPED if `*stop` became nonzero or the monotonic clock passed deadline_ns (0: none), both checked about every
 * 10 ms; rows that were computed before stay valid. */
UR_EXPORT int ur_run(ur_states *states, const int32_t *symbols, const int32_t *lengths, const int32_t *starts,
                     size_t word_count, const ur_reply *reply, size_t max_rows, const volatile int32_t *stop,
                     int64_t deadline_ns);
/* Computes the states that are missing for one network. */
typedef struct ur_job {
    ur_states *states; /* of no other job of the call */
    const int32_t *symbols, *lengths;
    size_t word_count, max_rows;
    int32_t status; /* of ur_run, written by ur_run_many */
} ur_job;
/* Runs jobs side by side, each on one thread. */
UR_EXPORT void ur_run_many(ur_job *jobs, size_t count);
/* Returns 1 if all states of the words are computed, 0 if not or if another thread uses the states. */
UR_EXPORT int ur_is_known(ur_states *states, const int32_t *symbols, const int32_t *lengths, const int32_t *starts,
                          size_t word_count);

/* Numbers the distinct states of words by first appearance, word by word: from 1, 0 past a word's end. States are equal
 * if prefix and initial state are, or for whole_words (bidirectional networks) if word, position and initial state are.
 * `numbers` is (count, position_count). Returns the largest number, -1 beyond max_number, -2 without memory, or -3 if
 * stopped (see ur_run). */
UR_EXPORT int64_t ur_number(const int32_t *symbols, const int32_t *lengths, const int32_t *starts, size_t word_count,
                            int32_t whole_words, size_t position_count, int64_t max_number, int32_t *numbers,
                            const volatile int32_t *stop, int64_t deadline_ns);

#endif
