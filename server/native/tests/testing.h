/* What the C tests share: checks, random numbers, random networks, and a plain scalar reference.
 *
 * The reference follows the arithmetic contract at the head of kernels.c with loops over single values. It recomputes each
 * word from its first symbol, so that equal bits also mean: alone as in company, and known as computed.
 */
#ifndef UNROLLED_TESTING_H
#define UNROLLED_TESTING_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "states.h"

#define CHECK(condition, ...)                                                   \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);     \
            fprintf(stderr, __VA_ARGS__);                                       \
            fputc('\n', stderr);                                                \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* SplitMix64 (Steele, Lea, Flood, 2014). */
static inline uint64_t next_random(uint64_t *random) {
    uint64_t z = *random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline size_t random_below(uint64_t *random, size_t limit) { return next_random(random) % limit; }

/* Returns a number from `low` to `high`, mostly a small one. */
static inline size_t random_size(uint64_t *random, size_t low, size_t high) {
    size_t range = high - low + 1;
    return low + random_below(random, 1 + random_below(random, range));
}

static inline float random_float(uint64_t *random, float scale) {
    return ((float)(next_random(random) >> 40) * 0x1p-23f - 1) * scale;
}

static inline float *allocate(size_t count) {
    float *memory = malloc(sizeof(float) * (count ? count : 1));
    CHECK(memory, "no memory for %zu floats", count);
    return memory;
}

/* Returns `count` numbers from -scale to scale. With `is_wild`, some are zeros, denormals, huge, infinite or NaN. */
static inline float *random_floats(uint64_t *random, size_t count, float scale, bool is_wild) {
    static const uint32_t wild[] = {0,          0x80000000, 1,          0x807fffff, 0x17800000, 0x177fffff, 0x7f7fffff,
                                    0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f812345, 0x60000000};
    float *values = allocate(count);
    for (size_t at = 0; at < count; at++) {
        values[at] = random_float(random, scale);
        if (is_wild && !random_below(random, 16)) values[at] = from_bits(wild[random_below(random, 14)]);
    }
    return values;
}

#define MAX_INPUTS 40 /* of vectors */

typedef struct network {
    ur_spec spec;
    ur_parameters parameters[6];
    size_t state, output; /* output: of all directions */
    size_t start_count;
    float *start_h, *start_c;
    bool has_any_words; /* words without symbols, and symbols that stand for zeros */
    const float *owned[64];
    size_t owned_count;
} network;

static inline const float *own(network *n, const float *memory) {
    CHECK(n->owned_count < 64, "too many arrays");
    return n->owned[n->owned_count++] = memory;
}

static inline void free_network(network *n) {
    for (size_t at = 0; at < n->owned_count; at++) free((void *)n->owned[at]);
    free(n->start_h);
    free(n->start_c);
}

static inline size_t gates_of(const ur_spec *spec) {
    return spec->cell == UR_LSTM ? 4 : spec->cell == UR_GRU ? 3 : 1;
}

static inline void draw_parameters(network *n, uint64_t *random, bool has_bias, float scale, bool is_wild) {
    const ur_spec *spec = &n->spec;
    size_t rows = gates_of(spec) * spec->hidden;
    for (int32_t at = 0; at < spec->layers * spec->directions; at++) {
        size_t inputs = at < spec->directions ? spec->inputs : n->output;
        n->parameters[at].weight_ih = own(n, random_floats(random, rows * inputs, scale, is_wild));
        n->parameters[at].weight_hh = own(n, random_floats(random, rows * n->state, scale, false));
        if (has_bias) {
            n->parameters[at].bias_ih = own(n, random_floats(random, rows, scale, false));
            n->parameters[at].bias_hh = own(n, random_floats(random, rows, scale, false));
        }
        if (spec->projection) {
            n->parameters[at].weight_hr = own(n, random_floats(random, n->state * spec->hidden, scale, false));
        }
    }
}

/* Draws a network with up to `max_hidden` units. */
static inline network random_network(uint64_t *random, size_t max_hidden) {
    network n = {0};
    ur_spec *spec = &n.spec;
    spec->cell = (int32_t)random_below(random, 4);
    spec->layers = 1 + (int32_t)random_below(random, 3);
    spec->directions = 1 + (int32_t)random_below(random, 2);
    spec->is_one_hot = (int32_t)random_below(random, 2);
    spec->hidden = random_size(random, 1, max_hidden);
    spec->inputs = random_size(random, 1, spec->is_one_hot && !random_below(random, 8) ? 5000 : MAX_INPUTS);
    spec->symbols = spec->inputs;
    spec->hash_seed = next_random(random);
    spec->leak_rate = 1;
    bool is_wild = !random_below(random, 8);
    if (spec->cell == UR_LSTM && spec->hidden > 1 && random_below(random, 2)) {
        spec->projection = 1 + random_below(random, spec->hidden - 1);
    }
    n.state = spec->projection ? spec->projection : spec->hidden;
    n.output = n.state * (size_t)spec->directions;
    if (!spec->is_one_hot) {
        spec->vector_count = random_size(random, 1, 150);
        spec->symbols = spec->vector_count + 2;
        spec->vectors = own(&n, random_floats(random, spec->vector_count * spec->inputs, 1, is_wild));
        spec->mean_vector = own(&n, random_floats(random, spec->inputs, 1, false));
    }
    /* Mostly torch's range; sometimes numbers that saturate, that relu grows to infinity, or that decay to denormals. */
    static const float scales[] = {1, 1, 1, 1, 20, 1e12f, 1e-15f, 0};
    float scale = scales[random_below(random, 8)] / sqrtf((float)spec->hidden);
    bool has_bias = random_below(random, 4) > 0;
    draw_parameters(&n, random, has_bias, scale, is_wild);
    if (random_below(random, 2)) {
        size_t layers = (size_t)(spec->layers * spec->directions);
        bool is_wild_start = !random_below(random, 3);
        n.start_count = random_size(random, 1, 40);
        n.start_h = random_floats(random, layers * n.start_count * n.state, 1, is_wild_start);
        if (spec->cell == UR_LSTM) {
            n.start_c = random_floats(random, layers * n.start_count * spec->hidden, 1, is_wild_start);
        }
    }
    return n;
}

/* Makes a plain network leaky; others stay as they are. */
static inline void add_leak(network *n, uint64_t *random) {
    static const double rates[] = {0.3, 0.5, 1 - 0x1p-53, 0x1p-30, 1e-3, 0.9};
    if (n->spec.cell <= UR_RNN_RELU) n->spec.leak_rate = rates[random_below(random, 6)];
}

/* Lets words be empty and symbols be zeros; some vectors become random words'. */
static inline void allow_any_words(network *n, uint64_t *random) {
    ur_spec *spec = &n->spec;
    n->has_any_words = true;
    if (spec->is_one_hot) return;
    spec->symbols = spec->vector_count;
    if (random_below(random, 2)) return;
    spec->has_random_words = 1;
    spec->word_seed = (uint32_t)next_random(random);
    spec->vector_count = 0;
    spec->vectors = spec->mean_vector = NULL;
    spec->symbols = (size_t)1 << 31;
}

/* ---- The reference ---- */

static inline float canonical_of(float x) {
    if (x != x) return from_bits(0x7fc00000);
    return (bits_of(x) & 0x7fffffff) < 0x17800000 ? 0.0f : x; /* 2^-80 */
}

/* Not found by name, which asks the CPU: microseconds in a virtual machine. */
extern const ur_kernels ur_kernels_portable;

static inline float tanh_of(float x) {
    ur_kernels_portable.tanh(&x, 1);
    return x;
}

static inline float sigmoid_of(float x) {
    ur_kernels_portable.sigmoid(&x, 1);
    return x;
}

static inline float chain(float sum, const float *x, const float *weights, size_t count) {
    for (size_t k = 0; k < count; k++) sum = fmaf(x[k], weights[k], sum);
    return sum;
}

/* The place of one step: the parameters, the symbol or the row below, and the state before. */
typedef struct place {
    const network *network;
    const ur_parameters *parameters;
    int32_t symbol;
    const float *x; /* NULL if one-hot */
    size_t inputs;
    const float *h;
} place;

/* Returns a sum in row `row` of the weights, of inputs or states or both. */
static inline float sum_of(const place *at, size_t row, bool has_input, bool has_state) {
    const ur_parameters *p = at->parameters;
    float sum = 0;
    if (p->bias_ih) sum = !has_state ? p->bias_ih[row] : !has_input ? p->bias_hh[row] : p->bias_ih[row] + p->bias_hh[row];
    bool is_looked_up = has_input && !at->x && (size_t)at->symbol < at->inputs; /* not the symbol of zeros */
    if (is_looked_up) sum = p->weight_ih[row * at->inputs + (size_t)at->symbol] + sum;
    if (has_input && at->x) sum = chain(sum, at->x, p->weight_ih + row * at->inputs, at->inputs);
    size_t state = at->network->state;
    return has_state ? chain(sum, at->h, p->weight_hh + row * state, state) : sum;
}

static inline float rnn_unit(const place *at, size_t unit) {
    const ur_spec *spec = &at->network->spec;
    float sum = sum_of(at, unit, true, true), a = spec->cell == UR_RNN_TANH ? tanh_of(sum) : sum < 0 ? 0 : sum;
    if (spec->leak_rate == 1) return canonical_of(a);
    float keep = (float)(1 - spec->leak_rate) * at->h[unit];
    return canonical_of(fmaf((float)spec->leak_rate, a, keep));
}

static inline float gru_unit(const place *at, size_t unit, size_t hidden) {
    float r = sigmoid_of(sum_of(at, unit, true, true)), z = sigmoid_of(sum_of(at, hidden + unit, true, true));
    float n_input = sum_of(at, 2 * hidden + unit, true, false), n_state = sum_of(at, 2 * hidden + unit, false, true);
    float n = tanh_of(fmaf(r, n_state, n_input));
    return canonical_of(fmaf(z, at->h[unit] - n, n));
}

static inline float lstm_unit(const place *at, size_t unit, size_t hidden, float *c) {
    float i = sigmoid_of(sum_of(at, unit, true, true)), f = sigmoid_of(sum_of(at, hidden + unit, true, true));
    float g = tanh_of(sum_of(at, 2 * hidden + unit, true, true)), o = sigmoid_of(sum_of(at, 3 * hidden + unit, true, true));
    c[unit] = canonical_of(fmaf(f, c[unit], i * g));
    return canonical_of(o * tanh_of(c[unit]));
}

/* Replaces h and c by the next state. */
static inline void reference_step(const place *at, float *h, float *c) {
    const ur_spec *spec = &at->network->spec;
    float *next = allocate(spec->hidden);
    for (size_t unit = 0; unit < spec->hidden; unit++) {
        if (spec->cell == UR_LSTM) {
            next[unit] = lstm_unit(at, unit, spec->hidden, c);
        } else if (spec->cell == UR_GRU) {
            next[unit] = gru_unit(at, unit, spec->hidden);
        } else {
            next[unit] = rnn_unit(at, unit);
        }
    }
    for (size_t unit = 0; unit < at->network->state; unit++) {
        h[unit] = next[unit];
        if (spec->projection) {
            h[unit] = canonical_of(chain(0, next, at->parameters->weight_hr + unit * spec->hidden, spec->hidden));
        }
    }
    free(next);
}

static inline const float *vector_of_symbol(const ur_spec *spec, int32_t symbol) {
    static const float zeros[MAX_INPUTS];
    static float drawn[MAX_INPUTS];
    if (spec->has_random_words) {
        ur_generator generator;
        uint64_t state = (uint64_t)spec->word_seed << 32 | (uint32_t)symbol;
        ur_generator_seed(&generator, (uint32_t)next_random(&state));
        ur_draw_normal(&generator, drawn, spec->inputs);
        return drawn;
    }
    if ((size_t)symbol < spec->vector_count) return spec->vectors + (size_t)symbol * spec->inputs;
    return (size_t)symbol == spec->vector_count ? zeros : spec->mean_vector;
}

static inline void load_start(const network *n, size_t at, size_t start, size_t size, const float *given, float *to) {
    for (size_t unit = 0; unit < size; unit++) {
        to[unit] = given ? canonical_of(given[(at * n->start_count + start) * size + unit]) : 0;
    }
}

/* What a word must give: `outputs` is (length, output), h and c are (layers * directions, state or hidden). */
typedef struct expected_word {
    float *outputs, *h, *c;
} expected_word;

static inline expected_word reference_word(const network *n, const int32_t *symbols, size_t length, size_t start) {
    const ur_spec *spec = &n->spec;
    size_t directions = (size_t)spec->directions, layers = (size_t)spec->layers;
    float *below = NULL, *outputs = NULL;
    expected_word word = {.h = allocate(layers * directions * n->state), .c = allocate(layers * directions * spec->hidden)};
    for (size_t layer = 0; layer < layers; layer++) {
        free(below);
        below = outputs;
        outputs = allocate(length * n->output);
        for (size_t d = 0; d < directions; d++) {
            size_t number = layer * directions + d;
            float *h = word.h + number * n->state, *c = word.c + number * spec->hidden;
            load_start(n, number, start, n->state, n->start_h, h);
            load_start(n, number, start, spec->hidden, n->start_c, c);
            for (size_t t = 0; t < length; t++) {
                size_t position = d ? length - 1 - t : t;
                place at = {.network = n, .parameters = &n->parameters[number], .symbol = symbols[position], .h = h};
                at.inputs = layer ? n->output : spec->inputs;
                at.x = layer ? below + position * n->output
                             : spec->is_one_hot ? NULL : vector_of_symbol(spec, symbols[position]);
                reference_step(&at, h, c);
                memcpy(outputs + position * n->output + d * n->state, h, sizeof(float) * n->state);
            }
        }
    }
    free(below);
    word.outputs = outputs;
    return word;
}

/* ---- Words and replies ---- */

typedef struct text {
    int32_t *symbols, *lengths, *starts;
    size_t *firsts; /* where each word begins in `symbols` */
    size_t count, symbol_count, max_length;
    expected_word *expected;
} text;

/* The arguments of ur_run and others for an ur_words. */
#define WORDS(words) (words).symbols, (words).lengths, (words).starts, (words).count

static inline ur_words words_of(const text *t) { return (ur_words){t->symbols, t->lengths, t->starts, t->count}; }

/* Draws words with many common beginnings and some equal words. */
static inline text random_text(uint64_t *random, const network *n, size_t max_count, size_t max_length) {
    text t = {.count = random_size(random, 1, max_count)};
    t.lengths = calloc(t.count, sizeof *t.lengths);
    t.starts = n->start_count ? calloc(t.count, sizeof *t.starts) : NULL;
    t.firsts = calloc(t.count, sizeof *t.firsts);
    t.symbols = calloc(t.count * max_length, sizeof *t.symbols);
    size_t few = 1 + random_below(random, n->spec.symbols < 3 ? n->spec.symbols : 3);
    for (size_t word = 0; word < t.count; word++) {
        size_t length = random_size(random, 1, max_length), used = random_below(random, 2) ? few : n->spec.symbols;
        if (n->has_any_words && !random_below(random, 4)) length = 0;
        t.firsts[word] = t.symbol_count;
        t.lengths[word] = (int32_t)length;
        if (t.starts) t.starts[word] = (int32_t)random_below(random, n->start_count);
        for (size_t at = 0; at < length; at++) {
            int32_t *symbol = &t.symbols[t.symbol_count++];
            *symbol = (int32_t)(n->spec.symbols - 1 - random_below(random, used));
            bool is_zeros = n->has_any_words && !n->spec.has_random_words && !random_below(random, 8);
            if (is_zeros) *symbol = (int32_t)n->spec.symbols;
        }
        if (length > t.max_length) t.max_length = length;
    }
    return t;
}

static inline void compute_expected(text *t, const network *n) {
    t->expected = calloc(t->count, sizeof *t->expected);
    for (size_t word = 0; word < t->count; word++) {
        size_t start = t->starts ? (size_t)t->starts[word] : 0;
        t->expected[word] = reference_word(n, t->symbols + t->firsts[word], (size_t)t->lengths[word], start);
    }
}

static inline void free_text(text *t) {
    for (size_t word = 0; t->expected && word < t->count; word++) {
        free(t->expected[word].outputs);
        free(t->expected[word].h);
        free(t->expected[word].c);
    }
    free(t->expected);
    free(t->symbols);
    free(t->lengths);
    free(t->starts);
    free(t->firsts);
}

/* Returns some words of a text, in another order. The caller frees it by free_text. */
static inline text random_part(uint64_t *random, const text *from, size_t max_count) {
    size_t count = random_size(random, 1, max_count), symbol_count = 0;
    text t = {.count = count, .lengths = calloc(count, sizeof *t.lengths), .firsts = calloc(count, sizeof *t.firsts)};
    t.starts = from->starts ? calloc(count, sizeof *t.starts) : NULL;
    t.symbols = calloc(count * from->max_length, sizeof *t.symbols);
    t.expected = calloc(count, sizeof *t.expected);
    for (size_t word = 0; word < count; word++) {
        size_t chosen = random_below(random, from->count), length = (size_t)from->lengths[chosen];
        t.lengths[word] = from->lengths[chosen];
        t.firsts[word] = symbol_count;
        if (t.starts) t.starts[word] = from->starts[chosen];
        memcpy(t.symbols + symbol_count, from->symbols + from->firsts[chosen], length * sizeof *t.symbols);
        t.expected[word] = from->expected[chosen];
        symbol_count += length;
        if (length > t.max_length) t.max_length = length;
    }
    t.symbol_count = symbol_count;
    return t;
}

/* Frees what `random_part` allocated; the expected values stay with the whole text. */
static inline void free_part(text *t) {
    free(t->expected);
    t->expected = NULL;
    free_text(t);
}

/* FNV-1a. */
static inline uint64_t digest_of(uint64_t digest, const void *bytes, size_t count) {
    for (size_t at = 0; at < count; at++) digest = (digest ^ ((const uint8_t *)bytes)[at]) * 0x100000001b3u;
    return digest;
}

#define UNWRITTEN 0x7fa5a5a5 /* a NaN that no reply contains */

/* A reply and its memory. */
typedef struct reply {
    ur_reply given;
    size_t value_count;
    int32_t *numbers;
} reply;

static inline float *unwritten(size_t count) {
    float *values = allocate(count);
    for (size_t at = 0; at < count; at++) values[at] = from_bits(UNWRITTEN);
    return values;
}

static inline reply new_reply(uint64_t *random, const network *n, const text *t, int32_t output) {
    reply r = {.given = {.output = output, .state_words = t->count + random_below(random, 3)}};
    size_t layers = (size_t)(n->spec.layers * n->spec.directions);
    ur_words words = words_of(t);
    r.given.position_count = t->max_length + random_below(random, 3);
    r.given.position_stride = r.given.word_stride = n->output;
    size_t rows = t->count;
    if (output == UR_ALL) {
        rows *= r.given.position_count;
        if (random_below(random, 2)) { /* positions before words */
            r.given.position_stride *= t->count;
        } else {
            r.given.word_stride *= r.given.position_count;
        }
    } else if (output == UR_DISTINCT) {
        r.numbers = calloc(t->count * r.given.position_count, sizeof *r.numbers);
        rows = 1 + (size_t)ur_number(WORDS(words), n->spec.directions == 2, r.given.position_count, INT32_MAX, r.numbers, NULL, 0);
        r.given.numbers = r.numbers;
        r.given.number_count = rows;
    }
    r.value_count = output == UR_NONE ? 0 : rows * n->output;
    r.given.values = unwritten(r.value_count);
    if (random_below(random, 4)) r.given.h_n = unwritten(layers * r.given.state_words * n->state);
    if (n->spec.cell == UR_LSTM && random_below(random, 4)) {
        r.given.c_n = unwritten(layers * r.given.state_words * n->spec.hidden);
    }
    return r;
}

static inline void free_reply(reply *r) {
    free(r->given.values);
    free(r->given.h_n);
    free(r->given.c_n);
    free(r->numbers);
}

/* Returns what pooling gives for one unit. */
static inline float pooled(const float *outputs, size_t length, size_t size, size_t unit, int32_t output) {
    if (!length) return 0;
    if (output == UR_LAST) return outputs[(length - 1) * size + unit];
    float result = outputs[unit];
    for (size_t at = 1; at < length; at++) {
        float value = outputs[at * size + unit];
        if (output == UR_MEAN) {
            result += value;
        } else if (result == result && !(result >= value)) {
            result = value;
        }
    }
    if (output == UR_MEAN) result /= (float)length;
    return result == result ? result : from_bits(0x7fc00000);
}

static inline void check_floats(const float *got, const float *expected, size_t count, const char *what, size_t word) {
    for (size_t at = 0; at < count; at++) {
        CHECK(bits_of(got[at]) == bits_of(expected[at]), "%s of word %zu, float %zu of %zu: %08x (%g), expected %08x (%g), %s",
              what, word, at, count, bits_of(got[at]), (double)got[at], bits_of(expected[at]), (double)expected[at],
              ur_isa());
    }
}

static inline void check_values(const network *n, const text *t, const reply *r, size_t word) {
    const ur_reply *given = &r->given;
    size_t length = (size_t)t->lengths[word], size = n->output;
    float *row = allocate(size);
    if (given->output == UR_ALL || given->output == UR_DISTINCT) {
        for (size_t at = 0; at < given->position_count; at++) {
            const float *got = given->values + word * given->word_stride + at * given->position_stride;
            if (given->output == UR_DISTINCT) {
                int32_t number = r->numbers[word * given->position_count + at];
                CHECK(at < length ? number > 0 : number == 0, "number %d at position %zu of %zu", number, at, length);
                if (at >= length) break;
                got = given->values + (size_t)number * size;
            }
            memset(row, 0, sizeof(float) * size);
            check_floats(got, at < length ? t->expected[word].outputs + at * size : row, size, "an output", word);
        }
    } else if (given->output != UR_NONE) {
        for (size_t unit = 0; unit < size; unit++) row[unit] = pooled(t->expected[word].outputs, length, size, unit, given->output);
        check_floats(given->values + word * given->word_stride, row, size, "the pooled output", word);
    }
    free(row);
}

static inline void check_final(const network *n, const text *t, const reply *r) {
    size_t layers = (size_t)(n->spec.layers * n->spec.directions);
    for (size_t layer = 0; layer < layers; layer++) {
        for (size_t word = 0; word < r->given.state_words; word++) {
            bool is_word = word < t->count;
            float none = from_bits(UNWRITTEN);
            size_t at = layer * r->given.state_words + word;
            if (r->given.h_n) {
                const float *expected = is_word ? t->expected[word].h + layer * n->state : &none;
                check_floats(r->given.h_n + at * n->state, expected, is_word ? n->state : 1, "h_n", word);
            }
            if (r->given.c_n) {
                const float *expected = is_word ? t->expected[word].c + layer * n->spec.hidden : &none;
                check_floats(r->given.c_n + at * n->spec.hidden, expected, is_word ? n->spec.hidden : 1, "c_n", word);
            }
        }
    }
}

static inline void check_reply(const network *n, const text *t, const reply *r) {
    for (size_t word = 0; word < t->count; word++) check_values(n, t, r, word);
    if (r->given.output == UR_DISTINCT) check_floats(r->given.values, &(float){from_bits(UNWRITTEN)}, 1, "row 0", 0);
    check_final(n, t, r);
}

/* Runs a call that must succeed, checks the reply, and returns its digest. */
static inline uint64_t run_and_check(uint64_t *random, const network *n, ur_states *states, const text *t, int32_t output) {
    reply r = new_reply(random, n, t, output);
    ur_words words = words_of(t);
    int status = ur_run(states, WORDS(words), &r.given, 0, NULL, 0);
    CHECK(status == UR_OK, "status %d", status);
    check_reply(n, t, &r);
    uint64_t digest = digest_of(0xcbf29ce484222325u, r.given.values, sizeof(float) * r.value_count);
    free_reply(&r);
    return digest;
}

#endif
