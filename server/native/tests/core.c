/* Property tests: random networks and words give the bits of the scalar reference, whatever happened before. */
#include <fenv.h>

#include "testing.h"

/* Of the first 100 cases: the same for every compiler, optimization and instruction set. */
#define DIGEST_CASES 100
#define DIGEST 0x7b8aaf4f19650231u

static size_t count_distinct(const text *t, bool whole_words) {
    int32_t *numbers = calloc(t->count * t->max_length, sizeof *numbers);
    ur_words words = words_of(t);
    int64_t count = ur_number(WORDS(words), whole_words, t->max_length, INT32_MAX, numbers, NULL, 0);
    free(numbers);
    return (size_t)count;
}

static text reversed(const text *from) {
    text t = *from;
    t.symbols = calloc(t.symbol_count, sizeof *t.symbols);
    for (size_t word = 0; word < t.count; word++) {
        size_t first = t.firsts[word], length = (size_t)t.lengths[word];
        for (size_t at = 0; at < length; at++) t.symbols[first + at] = from->symbols[first + length - 1 - at];
    }
    return t;
}

static size_t expected_rows(const network *n, const text *t) {
    size_t rows = count_distinct(t, false);
    if (n->spec.directions == 1) return rows;
    text back = reversed(t);
    rows += count_distinct(&back, false);
    free(back.symbols);
    return rows + (n->spec.layers > 1 ? 2 * count_distinct(t, true) : 0);
}

static void check_sizes(const network *n, const ur_states *states, const text *t, size_t empty) {
    size_t rows = ur_states_rows(states), nbytes = ur_states_nbytes(states);
    CHECK(rows == expected_rows(n, t), "%zu rows, expected %zu", rows, expected_rows(n, t));
    /* A table holds up to twice its rows, at least 32, in up to 17 blocks with some bytes more each. */
    size_t tables = 2 * (size_t)(n->spec.layers * n->spec.directions) + 2, blocks = 17 * tables;
    size_t most = empty + 2 * (rows + FIRST_BLOCK_ROWS * tables) * ur_row_nbytes(&n->spec) + blocks * 512;
    CHECK(nbytes >= empty + sizeof(float) * rows * n->state, "%zu bytes for %zu rows", nbytes, rows);
    CHECK(nbytes <= most, "%zu bytes for %zu rows, at most %zu", nbytes, rows, most);
}

/* The words one by one on new states. */
static void check_alone(uint64_t *random, const network *n, const ur_weights *weights, const text *t) {
    for (int at = 0; at < 3; at++) {
        ur_states *states = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
        text one = random_part(random, t, 1);
        ur_words words = words_of(&one);
        CHECK(ur_is_known(states, WORDS(words)) == !one.max_length, "new states know a word");
        run_and_check(random, n, states, &one, (int32_t)random_below(random, 6));
        CHECK(ur_is_known(states, WORDS(words)), "a computed word is unknown");
        free_part(&one);
        ur_states_free(states);
    }
}

static unsigned read_mode(void) {
#if defined(__x86_64__)
    unsigned mode;
    __asm__ volatile("stmxcsr %0" : "=m"(mode));
    return mode & 0xffc0; /* without the flags of exceptions */
#else
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return (unsigned)mode;
#endif
}

static void write_mode(unsigned mode) {
#if defined(__x86_64__)
    __asm__ volatile("ldmxcsr %0" : : "m"(mode));
#else
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode));
#endif
}

/* A call under another floating-point mode gives the same reply and leaves the mode. */
static void check_modes(uint64_t *random, const network *n, const ur_weights *weights, const text *t) {
#if defined(__x86_64__)
    static const unsigned modes[] = {0x9fc0, 0x3f80, 0x5f80, 0x7f80, 0xffc0};
#else
    static const unsigned modes[] = {1u << 24, 1u << 22, 2u << 22, 3u << 22, 7u << 22, 1u << 25};
#endif
    unsigned usual = read_mode(), mode = modes[random_below(random, sizeof modes / sizeof *modes)];
    reply r = new_reply(random, n, t, (int32_t)random_below(random, 6));
    ur_words words = words_of(t);
    write_mode(mode);
    ur_states *states = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
    int status = ur_run(states, WORDS(words), &r.given, 0, NULL, 0);
    unsigned left = read_mode();
    write_mode(usual);
    CHECK(left == mode, "mode %x became %x", mode, left);
    CHECK(status == UR_OK, "status %d", status);
    check_reply(n, t, &r);
    free_reply(&r);
    ur_states_free(states);
}

/* A table that is full is cleared, and then computes a part, and the whole. */
static void check_full(uint64_t *random, const network *n, ur_states *states, const text *t) {
    size_t rows = ur_states_rows(states);
    if (rows < 2) return;
    ur_states_clear(states);
    CHECK(ur_states_rows(states) == 0, "%zu rows after clearing", ur_states_rows(states));
    reply r = new_reply(random, n, t, UR_ALL);
    ur_words words = words_of(t);
    int status = ur_run(states, WORDS(words), &r.given, 1 + random_below(random, rows - 1), NULL, 0);
    CHECK(status == UR_FULL, "status %d", status);
    CHECK(ur_states_rows(states) == 0, "%zu rows after UR_FULL", ur_states_rows(states));
    CHECK(!ur_is_known(states, WORDS(words)), "a full table knows its words");
    free_reply(&r);
    text part = random_part(random, t, t->count);
    run_and_check(random, n, states, &part, UR_ALL);
    free_part(&part);
    r = new_reply(random, n, t, UR_MAX);
    status = ur_run(states, WORDS(words), &r.given, rows, NULL, 0);
    CHECK(status == UR_OK, "status %d with exactly the rows that it needs", status);
    check_reply(n, t, &r);
    free_reply(&r);
}

static uint64_t check_network(uint64_t *random, const network *n, const text *t) {
    ur_weights *weights = ur_weights_new(&n->spec, n->parameters);
    ur_states *states = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
    ur_words words = words_of(t);
    uint64_t digest = 0;
    size_t empty = ur_states_nbytes(states);
    for (int32_t output = UR_ALL; output <= UR_NONE; output++) {
        uint64_t found = run_and_check(random, n, states, t, output);
        digest = digest_of(digest, &found, sizeof found);
        CHECK(ur_is_known(states, WORDS(words)), "a computed text is unknown");
    }
    check_sizes(n, states, t, empty);
    check_full(random, n, states, t);
    check_alone(random, n, weights, t);
    check_modes(random, n, weights, t);
    ur_states_free(states);
    ur_weights_free(weights);
    return digest;
}

/* Tens of thousands of words, whose states fill many blocks of a table. */
static void check_large_text(void) {
    uint64_t random = 1;
    network n;
    do {
        n = random_network(&random, 2);
        if (n.spec.symbols >= 10) break;
        free_network(&n);
    } while (true);
    text t = random_text(&random, &n, 40000, 5);
    compute_expected(&t, &n);
    check_network(&random, &n, &t);
    free_text(&t);
    free_network(&n);
}

int main(int argc, char **argv) {
    size_t cases = argc > 1 ? strtoul(argv[1], NULL, 10) : 300;
    uint64_t digest = 0;
    for (size_t at = 0; at < cases; at++) {
        uint64_t random = at, digest_of_case = 0;
        ur_set_threads(1 + at % 3);
        network n = random_network(&random, at % 8 ? 40 : 200);
        if (at >= DIGEST_CASES) add_leak(&n, &random);
        if (at >= DIGEST_CASES && at % 2) allow_any_words(&n, &random);
        text t = random_text(&random, &n, at % 16 ? 20 : 150, at % 16 ? 10 : 4);
        compute_expected(&t, &n);
        const char *name;
        for (size_t isa = 0; (name = ur_isa_at(isa)); isa++) {
            CHECK(ur_select_isa(name) == 0, "%s", name);
            uint64_t same = random;
            uint64_t found = check_network(&same, &n, &t);
            CHECK(!isa || found == digest_of_case, "case %zu: other bits with %s", at, name);
            digest_of_case = found;
        }
        if (at < DIGEST_CASES) digest = digest_of(digest, &digest_of_case, sizeof digest_of_case);
        free_text(&t);
        free_network(&n);
    }
    check_large_text();
    printf("%zu networks, digest of the first %d: %016llx\n", cases, DIGEST_CASES, (unsigned long long)digest);
    CHECK(cases < DIGEST_CASES || digest == DIGEST, "the digest is another one");
}
