/* Random sequences of calls on one set of states: calls that are stopped, that lack memory or that fill the table, and
 * between them whole ones, which must give the bits of the scalar reference.
 *
 * The linker replaces the functions below by those named __wrap_. */
#include <sys/mman.h>

#include "testing.h"

static uint64_t stops_in = UINT64_MAX, fails_in = UINT64_MAX; /* calls of functions until one stops or fails */
static size_t stop_count, failure_count, full_count;

bool __wrap_ur_must_stop(ur_watch *watch, uint64_t work);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
bool __real_ur_must_stop(ur_watch *watch, uint64_t work);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);

bool __wrap_ur_must_stop(ur_watch *watch, uint64_t work) {
    return stops_in == UINT64_MAX ? __real_ur_must_stop(watch, work) : stops_in-- == 0;
}

static bool fails(void) { return fails_in != UINT64_MAX && fails_in-- == 0; }

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *memory, size_t size) { return fails() ? NULL : __real_realloc(memory, size); }
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(address, size, protection, flags, file, offset);
}

/* Runs one call under the wrapped functions. Words that were known before a stopped call stay known. */
static void run_disturbed(uint64_t *random, const network *n, ur_states *states, const text *t, const text *others) {
    reply r = new_reply(random, n, t, (int32_t)random_below(random, 6));
    ur_words words = words_of(t), other_words = words_of(others);
    int was_known = ur_is_known(states, WORDS(other_words));
    size_t kind = random_below(random, 3), rows = ur_states_rows(states);
    size_t max_rows = kind == 2 ? 1 + random_below(random, rows + 50) : 0;
    if (kind == 0) stops_in = random_size(random, 0, 200);
    if (kind == 1) fails_in = random_size(random, 0, 30);
    int status = ur_run(states, WORDS(words), &r.given, max_rows, NULL, 0);
    CHECK(status == UR_OK || status == (kind == 0 ? UR_STOPPED : kind == 1 ? UR_NO_MEMORY : UR_FULL), "status %d", status);
    CHECK(kind != 0 || (status == UR_STOPPED) == (stops_in == UINT64_MAX), "status %d", status);
    CHECK(kind != 1 || (status == UR_NO_MEMORY) == (fails_in == UINT64_MAX), "status %d", status);
    stops_in = fails_in = UINT64_MAX;
    if (status == UR_OK) check_reply(n, t, &r);
    if (status == UR_FULL) CHECK(ur_states_rows(states) == 0, "a full table keeps %zu rows", ur_states_rows(states));
    stop_count += status == UR_STOPPED, failure_count += status == UR_NO_MEMORY, full_count += status == UR_FULL;
    bool has_states = status == UR_OK || status == UR_STOPPED;
    CHECK(!has_states || ur_is_known(states, WORDS(other_words)) >= was_known, "status %d made known words unknown", status);
    free_reply(&r);
}

/* What is said to be known comes without computing. */
static void check_known(uint64_t *random, const network *n, ur_states *states, const text *t) {
    ur_words words = words_of(t);
    size_t rows = ur_states_rows(states);
    if (!ur_is_known(states, WORDS(words))) return;
    run_and_check(random, n, states, t, UR_ALL);
    CHECK(ur_states_rows(states) == rows, "known words added %zu rows", ur_states_rows(states) - rows);
}

/* Makes weights and states with one more allocation each time, until that is enough. */
static ur_weights *make_weights(const network *n) {
    for (uint64_t limit = 0;; limit++) {
        fails_in = limit;
        ur_weights *weights = ur_weights_new(&n->spec, n->parameters);
        bool has_failed = fails_in == UINT64_MAX;
        fails_in = UINT64_MAX;
        CHECK(has_failed == !weights, "weights in spite of a failed allocation");
        if (weights) return weights;
    }
}

static ur_states *make_states(const network *n, const ur_weights *weights) {
    for (uint64_t limit = 0;; limit++) {
        fails_in = limit;
        ur_states *states = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
        bool has_failed = fails_in == UINT64_MAX;
        fails_in = UINT64_MAX;
        CHECK(has_failed == !states, "states in spite of a failed allocation");
        if (states) return states;
    }
}

static void check_network(uint64_t *random, const network *n, const text *t, size_t calls) {
    ur_weights *weights = make_weights(n);
    ur_states *states = make_states(n, weights);
    for (size_t call = 0; call < calls; call++) {
        text part = random_part(random, t, t->count), others = random_part(random, t, 3);
        switch (random_below(random, 5)) {
        case 0: run_and_check(random, n, states, &part, (int32_t)random_below(random, 6)); break;
        case 1: check_known(random, n, states, &part); break;
        case 2:
            if (!random_below(random, 8)) ur_states_clear(states);
            break;
        default: run_disturbed(random, n, states, &part, &others);
        }
        free_part(&others);
        free_part(&part);
    }
    run_and_check(random, n, states, t, UR_ALL);
    ur_states_free(states);
    ur_weights_free(weights);
}

/* ur_number against a comparison of all positions. */
static bool is_same_state(const text *t, size_t a, size_t a_at, size_t b, size_t b_at, bool whole_words) {
    if (a_at != b_at || (t->starts && t->starts[a] != t->starts[b])) return false;
    if (whole_words && t->lengths[a] != t->lengths[b]) return false;
    size_t count = whole_words ? (size_t)t->lengths[a] : a_at + 1;
    return !memcmp(t->symbols + t->firsts[a], t->symbols + t->firsts[b], count * sizeof *t->symbols);
}

static int32_t first_number(const text *t, const int32_t *numbers, size_t width, size_t word, size_t at, bool whole_words) {
    for (size_t before = 0; before < word; before++) {
        if (at < (size_t)t->lengths[before] && is_same_state(t, before, at, word, at, whole_words)) {
            return numbers[before * width + at];
        }
    }
    return 0;
}

static void check_numbers(uint64_t *random, const text *t) {
    size_t width = t->max_length + random_below(random, 3);
    int32_t *numbers = calloc(t->count * width, sizeof *numbers), *expected = calloc(t->count * width, sizeof *expected);
    bool whole_words = random_below(random, 2);
    ur_words words = words_of(t);
    int32_t next = 1;
    for (size_t word = 0; word < t->count; word++) {
        for (size_t at = 0; at < (size_t)t->lengths[word]; at++) {
            int32_t known = first_number(t, expected, width, word, at, whole_words);
            expected[word * width + at] = known ? known : next++;
        }
    }
    memset(numbers, 0x55, t->count * width * sizeof *numbers);
    CHECK(ur_number(WORDS(words), whole_words, width, next - 1, numbers, NULL, 0) == next - 1, "not %d numbers", next - 1);
    CHECK(!memcmp(numbers, expected, t->count * width * sizeof *numbers), "other numbers");
    CHECK(ur_number(WORDS(words), whole_words, width, next - 2, numbers, NULL, 0) == -1, "more numbers than allowed");
    fails_in = random_below(random, 3);
    int64_t count = ur_number(WORDS(words), whole_words, width, next - 1, numbers, NULL, 0);
    CHECK(count == (fails_in == UINT64_MAX ? -2 : next - 1), "%lld numbers when memory is short", (long long)count);
    fails_in = UINT64_MAX;
    free(numbers);
    free(expected);
}

int main(int argc, char **argv) {
    size_t cases = argc > 1 ? strtoul(argv[1], NULL, 10) : 150;
    for (size_t at = 0; at < cases; at++) {
        uint64_t random = at + ((uint64_t)1 << 32);
        network n = random_network(&random, at % 4 ? 20 : 150);
        if (at % 64 == 3) { /* flag, clock and limit of rows are checked within a word */
            free_network(&n);
            n = random_network(&random, 2);
        }
        if (at % 2) add_leak(&n, &random);
        if (at % 2) allow_any_words(&n, &random);
        /* Few long words, thousands of short ones, or something between. */
        size_t words = at % 8 == 1 ? 3000 : at % 8 == 2 ? 2 : 40, length = at % 8 == 1 ? 3 : at % 8 == 2 ? 1000 : 12;
        if (words * length > 1000 && n.spec.hidden > 16) words = 1 + words / 10, length = 1 + length / 4;
        if (at % 64 == 3) words = 2, length = 40000;
        text t = random_text(&random, &n, words, length);
        const char *names[4];
        size_t isa_count = 0;
        while ((names[isa_count] = ur_isa_at(isa_count))) isa_count++;
        CHECK(ur_select_isa(names[random_below(&random, isa_count)]) == 0, "an instruction set went away");
        compute_expected(&t, &n);
        check_network(&random, &n, &t, words * length > 1000 ? 10 : 40);
        if (t.count < 400) check_numbers(&random, &t);
        free_text(&t);
        free_network(&n);
    }
    printf("%zu networks: %zu calls stopped, %zu without memory, %zu over the limit of rows\n", cases, stop_count,
           failure_count, full_count);
}
