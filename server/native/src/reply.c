/* Reads replies from computed states. */
#include <string.h>

#include "states.h"

#define FLOAT_WORK 8 /* multiplications that take as long as writing one float */
#define CHECKED_POSITIONS 512

/* Returns h or c of a layer and direction at a position of a word. */
static const float *state_at(const ur_call *call, const call_word *word, int32_t layer, int32_t d, size_t position, bool is_c) {
    const ur_states *states = call->states;
    if (layer < states->tree_layers) {
        const prefix_tree *tree = &states->trees[d];
        return ur_row(is_c ? &tree->c[layer] : &tree->h[layer], call->paths[d][word->first + position]);
    }
    const float *row = ur_row((is_c ? states->above_c : states->above_h) + layer - 1, word->place + (uint32_t)position);
    return row + (size_t)d * (is_c ? states->weights->spec.hidden : states->weights->state_size);
}

static const float *output_at(const ur_call *call, const call_word *word, int32_t d, size_t position) {
    return state_at(call, word, call->states->weights->spec.layers - 1, d, position, false);
}

static void copy_output(const ur_call *call, const call_word *word, size_t position, float *to) {
    size_t size = call->states->weights->state_size;
    for (int32_t d = 0; d < call->states->weights->spec.directions; d++) {
        memcpy(to + (size_t)d * size, output_at(call, word, d, position), sizeof(float) * size);
    }
}

static void write_distinct(const ur_call *call, const ur_reply *reply, size_t word, size_t position, uint8_t *is_written) {
    size_t number = (size_t)reply->numbers[word * reply->position_count + position];
    UR_ASSERT(number > 0 && number < reply->number_count);
    if (is_written[number]) return;
    is_written[number] = 1;
    copy_output(call, &call->words[word], position, reply->values + number * call->states->weights->output_size);
}

static void add_row(float *restrict sums, const float *restrict row, size_t size) {
    for (size_t at = 0; at < size; at++) sums[at] += row[at];
}

/* NaN wins. Stored states have no -0. */
static void take_larger(float *restrict largest, const float *restrict row, size_t size) {
    for (size_t at = 0; at < size; at++) {
        bool keep = largest[at] >= row[at] || largest[at] != largest[at];
        largest[at] = keep ? largest[at] : row[at];
    }
}

/* Combines the outputs of a word up to a position with the one there; divides at the last. */
static void pool(const ur_call *call, int32_t output, const call_word *word, size_t position, float *to) {
    const uint32_t nan_bits = 0x7fc00000;
    size_t size = call->states->weights->state_size, output_size = call->states->weights->output_size;
    bool is_last = position == word->length - 1;
    if (output == UR_LAST ? is_last : position == 0) copy_output(call, word, position, to);
    for (int32_t d = 0; position && output != UR_LAST && d < call->states->weights->spec.directions; d++) {
        const float *row = output_at(call, word, d, position);
        (output == UR_MEAN ? add_row : take_larger)(to + (size_t)d * size, row, size);
    }
    for (size_t at = 0; is_last && output == UR_MEAN && at < output_size; at++) {
        to[at] /= (float)word->length;
        if (to[at] != to[at]) memcpy(&to[at], &nan_bits, sizeof nan_bits);
    }
}

static void write_position(const ur_call *call, const ur_reply *reply, size_t at, size_t position, uint8_t *is_written) {
    const call_word *word = &call->words[at];
    float *to = reply->values + at * reply->word_stride;
    if (reply->output == UR_DISTINCT) {
        write_distinct(call, reply, at, position, is_written);
    } else if (reply->output != UR_ALL) {
        pool(call, reply->output, word, position, to);
    } else if (position < word->length) {
        copy_output(call, word, position, to + position * reply->position_stride);
    } else {
        memset(to + position * reply->position_stride, 0, sizeof(float) * call->states->weights->output_size);
    }
}

/* Copies h or c after the last step of each layer and direction. */
static void write_final(const ur_call *call, size_t word, size_t state_words, bool is_c, float *to) {
    const ur_weights *weights = call->states->weights;
    size_t size = is_c ? weights->spec.hidden : weights->state_size;
    for (int32_t layer = 0; layer < weights->spec.layers; layer++) {
        for (int32_t d = 0; d < weights->spec.directions; d++) {
            size_t last = d ? 0 : call->words[word].length - 1;
            size_t row = (size_t)(layer * weights->spec.directions + d) * state_words + word;
            memcpy(to + row * size, state_at(call, &call->words[word], layer, d, last, is_c), sizeof(float) * size);
        }
    }
}

static int write_word(ur_call *call, const ur_reply *reply, size_t word, uint8_t *is_written) {
    size_t length = call->words[word].length, end = reply->output == UR_ALL ? reply->position_count : length;
    size_t position = reply->output == UR_NONE ? end : reply->output == UR_LAST ? end - 1 : 0;
    uint64_t work = FLOAT_WORK * call->states->weights->output_size;
    while (position < end) {
        write_position(call, reply, word, position, is_written);
        if (++position % CHECKED_POSITIONS == 0 && ur_must_stop(&call->watch, work * CHECKED_POSITIONS)) return UR_STOPPED;
    }
    if (reply->h_n) write_final(call, word, reply->state_words, false, reply->h_n);
    if (reply->c_n) write_final(call, word, reply->state_words, true, reply->c_n);
    return ur_must_stop(&call->watch, work * (end % CHECKED_POSITIONS + 1)) ? UR_STOPPED : UR_OK;
}

int ur_write_reply(ur_call *call, const ur_reply *reply) {
    int status = UR_OK;
    uint8_t *is_written = NULL;
    if (reply->output == UR_DISTINCT && !(is_written = calloc(reply->number_count, 1))) return UR_NO_MEMORY;
    for (size_t word = 0; word < call->word_count && status == UR_OK; word++) {
        status = write_word(call, reply, word, is_written);
    }
    free(is_written);
    return status;
}
