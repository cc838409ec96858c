/* State tables: creation, clearing, sizes, and the entry points that use them. */
#include "states.h"

#include <sched.h>
#include <string.h>

/* Multiplications: 1 to 2 ms. Shorter calls would gain less than they would lose where a CPU is busy. */
#define MIN_SHARED_CALL MIN_SHARED(1 << 26)

static size_t start_floats(const ur_states *states, size_t size) {
    const ur_spec *spec = &states->weights->spec;
    return (size_t)(spec->layers * spec->directions) * states->root_count * size;
}

static float *copy_starts(const ur_states *states, const float *given, size_t size) {
    size_t count = start_floats(states, size);
    float *copy = ur_allocate(sizeof(float) * count);
    if (!copy || !given) return copy;
    memcpy(copy, given, sizeof(float) * count);
    ur_float_mode saved = ur_enter_float_mode();
    states->weights->kernels->canonicalize(copy, count);
    ur_leave_float_mode(saved);
    return copy;
}

ur_states *ur_states_new(const ur_weights *weights, size_t start_count, const float *h, const float *c) {
    const ur_spec *spec = &weights->spec;
    size_t tables = 2 * (size_t)(spec->layers * spec->directions);
    ur_states *states = calloc(1, sizeof *states + tables * sizeof(row_table));
    if (!states) return NULL;
    states->weights = weights;
    states->root_count = start_count ? (uint32_t)start_count : 1;
    states->tree_layers = spec->directions == 2 ? 1 : spec->layers;
    states->start_h = copy_starts(states, h, weights->state_size);
    states->start_c = ur_is_lstm(spec) ? copy_starts(states, c, spec->hidden) : NULL;
    states->places.seed = spec->hash_seed;
    row_table *next = states->tables;
    for (int32_t d = 0; d < spec->directions; d++) {
        prefix_tree *tree = &states->trees[d];
        tree->rows.seed = tree->input_rows.seed = spec->hash_seed;
        tree->input_sums = ur_table_of(weights->sum_size);
        tree->h = next;
        tree->c = next += states->tree_layers;
        next += states->tree_layers;
        for (int32_t layer = 0; layer < states->tree_layers; layer++) {
            tree->h[layer] = ur_table_of(weights->state_size);
            tree->c[layer] = ur_table_of(ur_is_lstm(spec) ? spec->hidden : 0);
        }
    }
    states->above_h = next;
    states->above_c = next + ur_upper_layers(states);
    for (int32_t layer = 0; layer < ur_upper_layers(states); layer++) {
        states->above_h[layer] = ur_table_of(2 * weights->state_size);
        states->above_c[layer] = ur_table_of(ur_is_lstm(spec) ? 2 * spec->hidden : 0);
    }
    ur_drop_states(states);
    if (states->start_h && (states->start_c || !ur_is_lstm(spec))) return states;
    ur_states_free(states);
    return NULL;
}

static void clear_pending(pending_rows *pending) {
    free(pending->bits);
    *pending = (pending_rows){0};
}

void ur_drop_states(ur_states *states) {
    const ur_spec *spec = &states->weights->spec;
    for (int32_t d = 0; d < spec->directions; d++) {
        prefix_tree *tree = &states->trees[d];
        hash_clear(&tree->rows);
        hash_clear(&tree->input_rows);
        clear_pending(&tree->pending);
        tree->next_row = states->root_count + 1;
    }
    hash_clear(&states->places);
    clear_pending(&states->pending_words);
    states->next_place = 1;
    states->row_count = 0;
}

void ur_release_tables(ur_states *states) {
    const ur_spec *spec = &states->weights->spec;
    for (int32_t d = 0; d < spec->directions; d++) ur_table_clear(&states->trees[d].input_sums);
    for (int32_t at = 0; at < 2 * spec->layers * spec->directions; at++) ur_table_clear(&states->tables[at]);
}

void ur_states_free(ur_states *states) {
    if (!states) return;
    ur_drop_states(states);
    ur_release_tables(states);
    ur_release(states->start_h, sizeof(float) * start_floats(states, states->weights->state_size));
    ur_release(states->start_c, sizeof(float) * start_floats(states, states->weights->spec.hidden));
    free(states);
}

size_t ur_states_rows(const ur_states *states) { return states->row_count; }

static size_t map_nbytes(const hash_map *map) { return ur_held_nbytes(hash_nbytes(map)); }

size_t ur_states_nbytes(const ur_states *states) {
    const ur_spec *spec = &states->weights->spec;
    size_t size = sizeof *states + 2 * sizeof(row_table) * (size_t)(spec->layers * spec->directions);
    size += ur_held_nbytes(sizeof(float) * start_floats(states, states->weights->state_size));
    if (states->start_c) size += ur_held_nbytes(sizeof(float) * start_floats(states, spec->hidden));
    for (int32_t d = 0; d < spec->directions; d++) {
        const prefix_tree *tree = &states->trees[d];
        size += ur_table_nbytes(&tree->input_sums);
        size += map_nbytes(&tree->rows) + map_nbytes(&tree->input_rows) + tree->pending.nbytes;
    }
    size += map_nbytes(&states->places) + states->pending_words.nbytes;
    for (int32_t at = 0; at < 2 * spec->layers * spec->directions; at++) size += ur_table_nbytes(&states->tables[at]);
    return size;
}

size_t ur_row_nbytes(const ur_spec *spec) {
    const size_t slot = 4 * sizeof(hash_slot); /* right after it grew, a quarter of a map is used */
    size_t state = ur_table_of(ur_state_size(spec)).stride + (ur_is_lstm(spec) ? ur_table_of(spec->hidden).stride : 0);
    size_t input = spec->is_one_hot ? 0 : sizeof(float) * ur_table_of(ur_sum_size(spec)).stride + slot;
    size_t layers = spec->directions == 2 ? 1 : (size_t)spec->layers;
    size_t in_tree = sizeof(float) * layers * state + slot + input;
    /* Above a bidirectional first layer a place is two rows; padding of the stride included. */
    size_t above = spec->directions == 2 ? sizeof(float) * ((size_t)spec->layers - 1) * (state + 16) + slot : 0;
    return above > in_tree ? above : in_tree;
}

static bool try_lock(ur_states *states) { return !__atomic_exchange_n(&states->lock, 1, __ATOMIC_ACQUIRE); }

static void unlock(ur_states *states) { __atomic_store_n(&states->lock, 0, __ATOMIC_RELEASE); }

void ur_states_clear(ur_states *states) {
    while (!try_lock(states)) sched_yield();
    ur_drop_states(states);
    ur_release_tables(states);
    unlock(states);
}

static void count_symbols(ur_call *call, const ur_words *words) {
    for (size_t word = 0; word < words->count; word++) {
        size_t length = (size_t)words->lengths[word];
        UR_ASSERT(words->lengths[word] >= 0);
        call->symbol_count += length;
        if (length > call->max_length) call->max_length = length;
    }
}

/* Takes cache lines from `memory`, or only counts them in `used` if it is NULL. */
static void *take(char *memory, size_t *used, size_t nbytes) {
    size_t at = *used;
    *used += (nbytes + 63) & ~(size_t)63;
    return memory ? memory + at : NULL;
}

/* Lays out the call's working memory; returns its size. */
static size_t lay_out(ur_call *call, char *memory) {
    const ur_states *states = call->states;
    const ur_spec *spec = &states->weights->spec;
    size_t symbols = call->symbol_count, words = call->word_count, used = 0;
    size_t vectors = !spec->has_random_words ? 0 : symbols < CHUNK_ROWS ? symbols : CHUNK_ROWS;
    call->workers = take(memory, &used, sizeof *call->workers * call->worker_count);
    for (size_t at = 0; at < call->worker_count; at++) {
        float *scratch = take(memory, &used, sizeof(float) * ur_scratch_floats(spec->hidden));
        float *drawn = take(memory, &used, sizeof(float) * vectors * spec->inputs);
        if (memory) {
            call->workers[at].scratch = scratch;
            call->workers[at].vectors = drawn;
            call->workers[at].watch = (ur_watch){.stop = call->watch.stop, .deadline_ns = call->watch.deadline_ns};
        }
    }
    call->words = take(memory, &used, sizeof *call->words * words);
    call->new_rows = take(memory, &used, sizeof *call->new_rows * symbols);
    call->new_words = take(memory, &used, ur_upper_layers(states) ? sizeof *call->new_words * words : 0);
    call->order = take(memory, &used, sizeof *call->order * symbols);
    call->counts = take(memory, &used, sizeof *call->counts * (call->max_length + 2));
    for (int32_t direction = 0; direction < spec->directions; direction++) {
        call->paths[direction] = take(memory, &used, sizeof(uint32_t) * symbols);
    }
    return used;
}

static void set_words(ur_call *call, const ur_words *words) {
    size_t first = 0;
    for (size_t word = 0; word < words->count; word++) {
        size_t length = (size_t)words->lengths[word];
        call->words[word] = (call_word){.first = first, .length = length, .root = ur_root(words, word)};
        first += length;
    }
}

static int run_locked(ur_call *call, const ur_reply *reply) {
    while (!try_lock(call->states)) {
        sched_yield();
        if (ur_must_stop(&call->watch, UINT32_MAX)) return UR_STOPPED;
    }
    ur_float_mode saved = ur_enter_float_mode();
    int status = ur_compute(call);
    if (status == UR_OK) status = ur_write_reply(call, reply);
    ur_leave_float_mode(saved);
    unlock(call->states);
    return status;
}

/* Returns how many threads share the steps of a call. */
static size_t worker_count(const ur_call *call) {
    const ur_weights *weights = call->states->weights;
    size_t work = weights->sum_size * weights->state_size + ur_drawing_work(&weights->spec);
    return call->symbol_count * work < MIN_SHARED_CALL ? 1 : call->thread_count;
}

/* Runs a call on up to `threads` threads. */
static int run(ur_states *states, const ur_words *words, const ur_reply *reply, size_t max_rows, const ur_watch *watch,
               size_t threads) {
    const size_t max_on_heap = (size_t)1 << 20;
    ur_call call = {.states = states, .symbols = words->symbols, .word_count = words->count, .max_rows = max_rows,
                    .watch = *watch, .thread_count = threads};
    count_symbols(&call, words);
    if (call.symbol_count > MAX_ROWS) return UR_NO_MEMORY;
    call.worker_count = worker_count(&call);
    size_t size = lay_out(&call, NULL);
    /* A power of two, so that the next call finds the memory among what is kept. */
    if (size >= max_on_heap) size = (size_t)1 << (64 - __builtin_clzll(size - 1));
    char *memory = size < max_on_heap ? malloc(size) : ur_allocate_unset(size);
    if (!memory) return UR_NO_MEMORY;
    lay_out(&call, memory);
    set_words(&call, words);
    int status = run_locked(&call, reply);
    if (size < max_on_heap) {
        free(memory);
    } else {
        ur_release(memory, size);
    }
    return status;
}

int ur_run(ur_states *states, const int32_t *symbols, const int32_t *lengths, const int32_t *starts, size_t word_count,
           const ur_reply *reply, size_t max_rows, const volatile int32_t *stop, int64_t deadline_ns) {
    const ur_words words = {symbols, lengths, starts, word_count};
    const ur_watch watch = {.stop = stop, .deadline_ns = deadline_ns};
    return run(states, &words, reply, max_rows, &watch, ur_thread_count());
}

typedef struct job_list {
    ur_job *jobs;
    size_t count, next;
} job_list;

static void run_jobs(void *work, size_t part, size_t thread) {
    (void)part, (void)thread;
    job_list *list = work;
    for (size_t at; (at = __atomic_fetch_add(&list->next, 1, __ATOMIC_RELAXED)) < list->count;) {
        ur_job *job = &list->jobs[at];
        const ur_words words = {job->symbols, job->lengths, NULL, job->word_count};
        const ur_reply none = {.output = UR_NONE};
        const ur_watch watch = {0};
        job->status = run(job->states, &words, &none, job->max_rows, &watch, 1);
    }
}

void ur_run_many(ur_job *jobs, size_t count) {
    job_list list = {.jobs = jobs, .count = count};
    size_t threads = ur_thread_count();
    ur_share(run_jobs, &list, count < threads ? count : threads, threads);
}

/* Returns the row of a word's last symbol in a tree; 0 if a prefix is missing or without states. */
static uint32_t find_word(const prefix_tree *tree, const int32_t *symbols, size_t length, uint32_t root, bool reversed) {
    uint32_t row = root;
    for (size_t at = 0; at < length && row; at++) {
        row = hash_find(&tree->rows, ur_key(row, (uint32_t)symbols[reversed ? length - 1 - at : at]));
        if (ur_is_pending(&tree->pending, row)) return 0;
    }
    return row;
}

static bool is_word_known(const ur_states *states, const int32_t *symbols, size_t length, uint32_t root) {
    if (!length) return true;
    uint32_t last = find_word(&states->trees[0], symbols, length, root, false);
    if (!last) return false;
    if (states->weights->spec.directions == 1) return true;
    if (!find_word(&states->trees[1], symbols, length, root, true)) return false;
    if (!ur_upper_layers(states)) return true;
    uint32_t place = hash_find(&states->places, last);
    return place && !ur_is_pending(&states->pending_words, place);
}

int ur_is_known(ur_states *states, const int32_t *symbols, const int32_t *lengths, const int32_t *starts,
                size_t word_count) {
    const ur_words words = {symbols, lengths, starts, word_count};
    if (!try_lock(states)) return 0;
    bool is_known = true;
    for (size_t word = 0; word < word_count && is_known; word++) {
        size_t length = (size_t)lengths[word];
        is_known = is_word_known(states, symbols, length, ur_root(&words, word));
        symbols += length;
    }
    unlock(states);
    return is_known;
}

static int64_t number_words(hash_map *nodes, const ur_words *words, bool whole_words, size_t position_count,
                            int64_t max_number, int32_t *numbers, ur_watch *watch) {
    const uint32_t word_end = UINT32_MAX; /* no symbol */
    const size_t block = 4096;
    const int32_t *symbols = words->symbols;
    uint32_t next_node = 1, next_number = 1;
    for (size_t word = 0; word < words->count; word++, numbers += position_count) {
        size_t length = (size_t)words->lengths[word];
        uint32_t node = UINT32_MAX - ur_root(words, word);
        for (size_t at = 0; at < length; at++) {
            node = hash_find_or_add(nodes, ur_key(node, (uint32_t)symbols[at]), next_node, watch);
            watch->has_stopped |= at % block == 0 && ur_must_stop(watch, SYMBOL_WORK * (length < block ? length : block));
            if (!node || watch->has_stopped) return -2;
            next_node += node == next_node;
            numbers[at] = (int32_t)node;
        }
        if (whole_words) {
            uint32_t first = hash_find_or_add(nodes, ur_key(node, word_end), next_number, watch);
            if (!first) return -2;
            if (first == next_number) next_number += (uint32_t)length;
            for (size_t at = 0; at < length; at++) numbers[at] = (int32_t)(first + at);
        } else {
            next_number = next_node;
        }
        if ((int64_t)next_number - 1 > max_number) return -1;
        memset(numbers + length, 0, sizeof *numbers * (position_count - length));
        symbols += length;
    }
    return (int64_t)next_number - 1;
}

int64_t ur_number(const int32_t *symbols, const int32_t *lengths, const int32_t *starts, size_t word_count,
                  int32_t whole_words, size_t position_count, int64_t max_number, int32_t *numbers,
                  const volatile int32_t *stop, int64_t deadline_ns) {
    const ur_words words = {symbols, lengths, starts, word_count};
    ur_watch watch = {.stop = stop, .deadline_ns = deadline_ns};
    /* No client can choose words whose prefixes collide. */
    hash_map nodes = {.seed = ur_clock_ns() ^ (uint64_t)(uintptr_t)numbers << 24};
    int64_t count = number_words(&nodes, &words, whole_words, position_count, max_number, numbers, &watch);
    hash_clear(&nodes);
    return watch.has_stopped ? -3 : count;
}
