/* Reads replies from computed states. */
#include <string.h>

#include "states.h"

#define CHECKED_POSITIONS 512
#define MIN_SHARED_FLOATS MIN_SHARED(1 << 20) /* 0.5 to 1 ms */

/* Where the rows of one layer and direction are, for all positions of a word. */
typedef struct row_source {
    const row_table *table;
    const uint32_t *path; /* rows by position, or NULL if they follow one another from `first` on */
    uint32_t first;
    size_t column;
} row_source;

static row_source source_of(const ur_call *call, const call_word *word, int32_t layer, int32_t d, bool is_c) {
    const ur_states *states = call->states;
    if (layer < states->tree_layers) {
        const prefix_tree *tree = &states->trees[d];
        return (row_source){.table = (is_c ? tree->c : tree->h) + layer, .path = call->paths[d] + word->first};
    }
    size_t size = is_c ? states->weights->spec.hidden : states->weights->state_size;
    const row_table *tables = is_c ? states->above_c : states->above_h;
    return (row_source){.table = tables + layer - 1, .first = word->place, .column = (size_t)d * size};
}

static inline const float *row_at(const row_source *source, size_t position) {
    uint32_t row = source->path ? source->path[position] : source->first + (uint32_t)position;
    return ur_row(source->table, row) + source->column;
}

/* A word whose outputs are written. */
typedef struct output_word {
    size_t number, length;
    row_source outputs[2]; /* of each direction */
} output_word;

static void copy_output(const ur_call *call, const output_word *word, size_t position, float *to) {
    size_t size = call->states->weights->state_size;
    for (int32_t d = 0; d < call->states->weights->spec.directions; d++) {
        memcpy(to + (size_t)d * size, row_at(&word->outputs[d], position), sizeof(float) * size);
    }
}

/* Four floats, because compilers vectorize no loops at -O2. */
typedef float floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t float_bits __attribute__((vector_size(16), aligned(4)));

static void add_row(float *sums, const float *row, size_t size) {
    size_t at = 0;
    for (; at + 4 <= size; at += 4) *(floats *)(sums + at) += *(const floats *)(row + at);
    for (; at < size; at++) sums[at] += row[at];
}

/* NaN wins. Stored states have no -0. */
static void take_larger(float *largest, const float *row, size_t size) {
    size_t at = 0;
    for (; at + 4 <= size; at += 4) {
        floats a = *(floats *)(largest + at), b = *(const floats *)(row + at);
        float_bits keep = (a >= b) | (a != a);
        *(floats *)(largest + at) = (floats)(((float_bits)a & keep) | ((float_bits)b & ~keep));
    }
    for (; at < size; at++) largest[at] = largest[at] >= row[at] || largest[at] != largest[at] ? largest[at] : row[at];
}

/* Combines the outputs of a word before a position with the one there; divides at the last. */
static void pool(const ur_call *call, int32_t output, const output_word *word, size_t position, float *to) {
    const uint32_t nan_bits = 0x7fc00000;
    const ur_weights *weights = call->states->weights;
    if (output == UR_LAST || position == 0) {
        copy_output(call, word, position, to);
    } else {
        for (int32_t d = 0; d < weights->spec.directions; d++) {
            float *half = to + (size_t)d * weights->state_size;
            (output == UR_MEAN ? add_row : take_larger)(half, row_at(&word->outputs[d], position), weights->state_size);
        }
    }
    if (output != UR_MEAN || position < word->length - 1) return;
    for (size_t at = 0; at < weights->output_size; at++) {
        to[at] /= (float)word->length;
        if (to[at] != to[at]) memcpy(&to[at], &nan_bits, sizeof nan_bits);
    }
}

static void write_position(const ur_call *call, const ur_reply *reply, const output_word *word, size_t position,
                           uint8_t *is_written) {
    float *to = reply->values + word->number * reply->word_stride;
    if (reply->output == UR_DISTINCT) {
        size_t number = (size_t)reply->numbers[word->number * reply->position_count + position];
        UR_ASSERT(number > 0 && number < reply->number_count);
        if (__atomic_load_n(&is_written[number], __ATOMIC_RELAXED)) return;
        if (__atomic_exchange_n(&is_written[number], 1, __ATOMIC_RELAXED)) return; /* another thread writes it */
        copy_output(call, word, position, reply->values + number * call->states->weights->output_size);
    } else if (reply->output != UR_ALL) {
        pool(call, reply->output, word, position, to);
    } else if (position < word->length) {
        copy_output(call, word, position, to + position * reply->position_stride);
    } else {
        memset(to + position * reply->position_stride, 0, sizeof(float) * call->states->weights->output_size);
    }
}

/* Copies h or c after the last step of each layer and direction: the initial state of a word without symbols. */
static void write_final(const ur_call *call, size_t number, size_t state_words, bool is_c, float *to) {
    const ur_weights *weights = call->states->weights;
    const call_word *word = &call->words[number];
    size_t size = is_c ? weights->spec.hidden : weights->state_size;
    to += number * size;
    for (int32_t layer = 0; layer < weights->spec.layers; layer++) {
        for (int32_t d = 0; d < weights->spec.directions; d++, to += state_words * size) {
            row_source source = source_of(call, word, layer, d, is_c);
            const float *last = word->length ? row_at(&source, d ? 0 : word->length - 1)
                                             : ur_start(call->states, layer, d, word->root, is_c);
            memcpy(to, last, sizeof(float) * size);
        }
    }
}

static int write_word(const ur_call *call, const ur_reply *reply, size_t number, uint8_t *is_written, ur_watch *watch) {
    const ur_spec *spec = &call->states->weights->spec;
    output_word word = {.number = number, .length = call->words[number].length};
    for (int32_t d = 0; d < spec->directions; d++) {
        word.outputs[d] = source_of(call, &call->words[number], spec->layers - 1, d, false);
    }
    uint64_t work = FLOAT_WORK * call->states->weights->output_size;
    size_t end = reply->output == UR_ALL ? reply->position_count : word.length;
    size_t position = reply->output == UR_NONE ? end : reply->output == UR_LAST && end ? end - 1 : 0;
    bool is_pooled = reply->output == UR_LAST || reply->output == UR_MEAN || reply->output == UR_MAX;
    if (is_pooled && !end) {
        memset(reply->values + number * reply->word_stride, 0, sizeof(float) * call->states->weights->output_size);
    }
    while (position < end) {
        write_position(call, reply, &word, position, is_written);
        if (++position % CHECKED_POSITIONS == 0 && ur_must_stop(watch, work * CHECKED_POSITIONS)) return UR_STOPPED;
    }
    if (reply->h_n) write_final(call, number, reply->state_words, false, reply->h_n);
    if (reply->c_n) write_final(call, number, reply->state_words, true, reply->c_n);
    return ur_must_stop(watch, work * (end % CHECKED_POSITIONS + 1)) ? UR_STOPPED : UR_OK;
}

/* A reply whose words threads share. */
typedef struct shared_reply {
    const ur_call *call;
    const ur_reply *reply;
    uint8_t *is_written; /* DISTINCT: by number */
    size_t part_count;
    bool has_stopped; /* set by any thread */
} shared_reply;

static void write_part(void *work, size_t part, size_t thread) {
    (void)thread;
    shared_reply *shared = work;
    if (__atomic_load_n(&shared->has_stopped, __ATOMIC_RELAXED)) return;
    const ur_call *call = shared->call;
    ur_watch watch = call->watch;
    size_t end = (part + 1) * call->word_count / shared->part_count;
    for (size_t word = part * call->word_count / shared->part_count; word < end; word++) {
        if (write_word(call, shared->reply, word, shared->is_written, &watch) == UR_OK) continue;
        __atomic_store_n(&shared->has_stopped, true, __ATOMIC_RELAXED);
        return;
    }
}

int ur_write_reply(ur_call *call, const ur_reply *reply) {
    shared_reply shared = {.call = call, .reply = reply, .part_count = 1};
    if (reply->output == UR_DISTINCT && !(shared.is_written = calloc(reply->number_count, 1))) return UR_NO_MEMORY;
    size_t position_count = reply->output == UR_ALL ? call->word_count * reply->position_count : call->symbol_count;
    size_t floats = position_count * call->states->weights->output_size;
    if (call->thread_count > 1 && reply->output != UR_NONE && floats >= MIN_SHARED_FLOATS) {
        shared.part_count = call->word_count < MAX_PARTS_OF_WORK ? call->word_count : MAX_PARTS_OF_WORK;
        ur_share(write_part, &shared, shared.part_count, call->thread_count);
    } else {
        write_part(&shared, 0, 0);
    }
    free(shared.is_written);
    return shared.has_stopped ? UR_STOPPED : UR_OK;
}
