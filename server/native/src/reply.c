/* Reads replies from computed states. */
#include <string.h>

#include "states.h"

#define FLOAT_WORK 8 /* multiplications that take as long as writing one float */

/* Returns one direction's output at a position of a word. */
static const float *output_of(const ur_call *call, size_t word, size_t first_symbol, size_t position, int32_t direction) {
    const ur_states *states = call->states;
    int32_t above = ur_upper_layers(states);
    if (above) {
        const float *row = ur_row(&states->above_h[above - 1], call->word_places[word] + (uint32_t)position);
        return row + (size_t)direction * states->weights->state_size;
    }
    const prefix_tree *tree = &states->trees[direction];
    return ur_row(&tree->h[states->tree_layers - 1], call->paths[direction][first_symbol + position]);
}

static void copy_output(const ur_call *call, size_t word, size_t first_symbol, size_t position, float *to) {
    size_t size = call->states->weights->state_size;
    for (int32_t d = 0; d < call->states->weights->spec.directions; d++) {
        memcpy(to + (size_t)d * size, output_of(call, word, first_symbol, position, d), sizeof(float) * size);
    }
}

static void write_all(const ur_call *call, const ur_reply *reply, size_t word, size_t first_symbol) {
    size_t length = (size_t)call->words->lengths[word], size = call->states->weights->output_size;
    float *to = reply->values + word * reply->word_stride;
    for (size_t position = 0; position < length; position++) {
        copy_output(call, word, first_symbol, position, to + position * reply->position_stride);
    }
    for (size_t position = length; position < reply->position_count; position++) {
        memset(to + position * reply->position_stride, 0, sizeof(float) * size);
    }
}

static void write_distinct(const ur_call *call, const ur_reply *reply, size_t word, size_t first_symbol, uint8_t *is_written) {
    const int32_t *numbers = reply->numbers + word * reply->position_count;
    for (size_t position = 0; position < (size_t)call->words->lengths[word]; position++) {
        size_t number = (size_t)numbers[position];
        UR_ASSERT(number > 0 && number < reply->number_count);
        if (is_written[number]) continue;
        is_written[number] = 1;
        copy_output(call, word, first_symbol, position, reply->values + number * call->states->weights->output_size);
    }
}

static void add_rows(float *restrict sums, const float *restrict row, size_t size) {
    for (size_t at = 0; at < size; at++) sums[at] += row[at];
}

/* NaN wins. Stored states have no -0. */
static void take_larger(float *restrict largest, const float *restrict row, size_t size) {
    for (size_t at = 0; at < size; at++) {
        bool keep = largest[at] >= row[at] || largest[at] != largest[at];
        largest[at] = keep ? largest[at] : row[at];
    }
}

/* Combines a word's outputs from the first position to the last. */
static void write_pooled(const ur_call *call, const ur_reply *reply, size_t word, size_t first_symbol) {
    size_t length = (size_t)call->words->lengths[word], size = call->states->weights->state_size;
    float *to = reply->values + word * reply->word_stride;
    copy_output(call, word, first_symbol, reply->output == UR_LAST ? length - 1 : 0, to);
    if (reply->output == UR_LAST) return;
    for (int32_t d = 0; d < call->states->weights->spec.directions; d++, to += size) {
        for (size_t position = 1; position < length; position++) {
            const float *row = output_of(call, word, first_symbol, position, d);
            if (reply->output == UR_MEAN) {
                add_rows(to, row, size);
            } else {
                take_larger(to, row, size);
            }
        }
        if (reply->output != UR_MEAN) continue;
        for (size_t at = 0; at < size; at++) {
            const uint32_t nan_bits = 0x7fc00000;
            to[at] /= (float)length;
            if (to[at] != to[at]) memcpy(&to[at], &nan_bits, sizeof nan_bits);
        }
    }
}

/* Copies h or c after the last step of each layer and direction. */
static void write_final(const ur_call *call, size_t word, size_t first_symbol, size_t state_words, bool is_c, float *to) {
    const ur_states *states = call->states;
    const ur_spec *spec = &states->weights->spec;
    size_t length = (size_t)call->words->lengths[word], size = is_c ? spec->hidden : states->weights->state_size;
    for (int32_t layer = 0; layer < spec->layers; layer++) {
        for (int32_t d = 0; d < spec->directions; d++) {
            size_t last = d ? 0 : length - 1;
            const float *from;
            if (layer < states->tree_layers) {
                const prefix_tree *tree = &states->trees[d];
                from = ur_row(is_c ? &tree->c[layer] : &tree->h[layer], call->paths[d][first_symbol + last]);
            } else {
                const row_table *table = (is_c ? states->above_c : states->above_h) + layer - 1;
                from = ur_row(table, call->word_places[word] + (uint32_t)last) + (size_t)d * size;
            }
            memcpy(to + ((size_t)(layer * spec->directions + d) * state_words + word) * size, from, sizeof(float) * size);
        }
    }
}

static void write_word(const ur_call *call, const ur_reply *reply, size_t word, size_t first_symbol, uint8_t *is_written) {
    if (reply->output == UR_ALL) {
        write_all(call, reply, word, first_symbol);
    } else if (reply->output == UR_DISTINCT) {
        write_distinct(call, reply, word, first_symbol, is_written);
    } else if (reply->output != UR_NONE) {
        write_pooled(call, reply, word, first_symbol);
    }
    if (reply->h_n) write_final(call, word, first_symbol, reply->state_words, false, reply->h_n);
    if (reply->c_n) write_final(call, word, first_symbol, reply->state_words, true, reply->c_n);
}

int ur_write_reply(const ur_call *call, const ur_reply *reply, ur_watch *watch) {
    size_t first_symbol = 0;
    int status = UR_OK;
    uint8_t *is_written = NULL;
    if (reply->output == UR_DISTINCT && !(is_written = calloc(reply->number_count, 1))) return UR_NO_MEMORY;
    for (size_t word = 0; word < call->words->count && status == UR_OK; word++) {
        write_word(call, reply, word, first_symbol, is_written);
        size_t length = (size_t)call->words->lengths[word];
        first_symbol += length;
        if (ur_must_stop(watch, FLOAT_WORK * length * call->states->weights->output_size)) status = UR_STOPPED;
    }
    free(is_written);
    return status;
}
