/* Finds the prefixes of words in the trees and computes the states of those that are new. */
#include <string.h>

#include "states.h"

#define CHECKED_SYMBOLS 16384
#define MIN_SHARED_WORK MIN_SHARED(50000) /* multiplications of a step: one row of 0.2 MB of weights */
#define MIN_SHARED_ROWS 24 /* of each thread */

/* Removes a row from the pending ones; returns whether it was one. */
static bool take_pending(pending_rows *pending, uint32_t row) {
    if (!ur_is_pending(pending, row)) return false;
    pending->bits[row / 8] &= (uint8_t)~(1u << row % 8);
    pending->count--;
    return true;
}

static int add_pending(pending_rows *pending, uint32_t row) {
    if (row / 8 >= pending->nbytes) {
        size_t nbytes = 2 * (row / 8 + (size_t)1);
        uint8_t *bits = realloc(pending->bits, nbytes);
        if (!bits) return -1;
        memset(bits + pending->nbytes, 0, nbytes - pending->nbytes);
        pending->bits = bits;
        pending->nbytes = nbytes;
    }
    pending->bits[row / 8] |= (uint8_t)(1u << row % 8);
    pending->count++;
    return 0;
}

/* Marks new rows as pending after a stop. */
static int leave_rows(ur_call *call, prefix_tree *tree, size_t count, int status) {
    for (size_t at = 0; at < count; at++) {
        if (add_pending(&tree->pending, call->new_rows[at].row)) return UR_NO_MEMORY;
    }
    return status;
}

static int leave_words(ur_call *call, int status) {
    for (size_t at = 0; at < call->new_word_count; at++) {
        if (add_pending(&call->states->pending_words, call->words[call->new_words[at]].place)) return UR_NO_MEMORY;
    }
    return status;
}

/* Returns UR_FULL, UR_STOPPED or UR_OK after symbols were found. */
static int check(ur_call *call, size_t symbol_count) {
    size_t rows = call->states->row_count;
    if (rows > MAX_ROWS || (call->max_rows && rows > call->max_rows)) return UR_FULL;
    return ur_must_stop(&call->watch, SYMBOL_WORK * symbol_count) ? UR_STOPPED : UR_OK;
}

/* Returns why a hash map could not grow. */
static int no_slot(const ur_call *call) { return call->watch.has_stopped ? UR_STOPPED : UR_NO_MEMORY; }

/* Finds or adds the rows of the symbols of a word from one depth to another, and goes on at `*last`. */
static int find_rows(ur_call *call, int32_t direction, const call_word *word, size_t depth, size_t end, uint32_t *last,
                     size_t *new_count) {
    prefix_tree *tree = &call->states->trees[direction];
    uint32_t parent = *last;
    for (; depth < end; depth++) {
        size_t at = word->first + (direction ? word->length - 1 - depth : depth);
        int32_t symbol = call->symbols[at];
        uint32_t row = hash_find_or_add(&tree->rows, ur_key(parent, (uint32_t)symbol), tree->next_row, &call->watch);
        if (!row) return no_slot(call);
        bool is_new = row == tree->next_row;
        if (is_new) {
            tree->next_row++;
            call->states->row_count++;
        }
        if (is_new || take_pending(&tree->pending, row)) {
            call->new_rows[(*new_count)++] = (new_row){row, parent, (uint32_t)depth, symbol};
        }
        call->paths[direction][at] = parent = row;
    }
    *last = parent;
    return UR_OK;
}

/* Finds or adds the rows of one word. */
static int find_path(ur_call *call, int32_t direction, const call_word *word, size_t *new_count) {
    uint32_t last = word->root;
    int status = UR_OK;
    for (size_t depth = 0, end; depth < word->length && status == UR_OK; depth = end) {
        end = word->length - depth < CHECKED_SYMBOLS ? word->length : depth + CHECKED_SYMBOLS;
        status = find_rows(call, direction, word, depth, end, &last, new_count);
        if (status == UR_OK) status = check(call, end - depth);
    }
    return status;
}

/* Orders the items 0 to count - 1 by their keys from 0 to max_key: fills `order`, and `counts[k]` with the end of key k. */
static void sort_by_key(ur_call *call, size_t count, size_t max_key, size_t (*key)(const ur_call *, size_t)) {
    memset(call->counts, 0, sizeof *call->counts * (max_key + 1));
    for (size_t at = 0; at < count; at++) call->counts[key(call, at)]++;
    size_t begin = 0;
    for (size_t k = 0; k <= max_key; k++) {
        size_t size = call->counts[k];
        call->counts[k] = begin;
        begin += size;
    }
    for (size_t at = 0; at < count; at++) call->order[call->counts[key(call, at)]++] = (uint32_t)at;
}

static size_t depth_of(const ur_call *call, size_t at) { return call->new_rows[at].depth; }

static size_t shortness_of(const ur_call *call, size_t at) {
    return call->max_length - call->words[call->new_words[at]].length;
}

/* One step of one layer in one direction for rows that don't depend on one another: the items from `first` to `end` of the
 * call's order. Threads share the rows, or the columns of a few rows. */
typedef struct level {
    ur_call *call;
    const layer_weights *weights;
    int32_t layer, direction;
    ur_kernel *kernel;
    void (*set)(worker *to, const struct level *level, size_t item); /* sets the pointers of one row */
    size_t t; /* the number of the step */
    size_t first, end;
    size_t row_work; /* multiplications */
    size_t part_rows; /* of each part; 0 if parts are columns */
    size_t part_count;
    bool has_stopped; /* set by any thread */
} level;

/* Returns a level before its first step, and prepares the workers for it. */
static level level_of(ur_call *call, int32_t layer, int32_t direction, bool is_looked_up) {
    const ur_weights *weights = call->states->weights;
    const layer_weights *from = &weights->layers[layer * weights->spec.directions + direction];
    size_t x_size = is_looked_up ? 0 : from->matrices[INPUTS].k_count, other_size = from->matrices[OTHER_INPUTS].k_count;
    for (size_t at = 0; at < call->worker_count; at++) {
        worker *to = &call->workers[at];
        to->step = (ur_step){
            .cell = weights->spec.cell,
            .hidden = weights->spec.hidden,
            .state = weights->state_size,
            .end_block = ur_block_count(weights->spec.hidden),
            .base = to->base,
            .x = {x_size ? to->x[0] : NULL, other_size ? to->x[1] : NULL},
            .x_size = {x_size, other_size},
            .x_weights = {from->matrices[INPUTS].packed, from->matrices[OTHER_INPUTS].packed},
            .h = to->h,
            .c = to->c,
            .leak = (float)weights->spec.leak_rate,
            .keep = (float)(1 - weights->spec.leak_rate),
            .state_weights = from->matrices[STATES].packed,
            .projection_weights = from->matrices[PROJECTION].packed,
            .h_out = to->h_out,
            .c_out = to->c_out,
            .scratch = to->scratch,
        };
    }
    return (level){.call = call, .weights = from, .layer = layer, .direction = direction,
                   .kernel = weights->kernels->step,
                   .row_work = weights->sum_size * (weights->state_size + x_size + other_size)};
}

/* Computes the items from `at` to `end` with one worker's blocks of columns. */
static bool run_rows(level *level, worker *worker, size_t at, size_t end) {
    worker->step.backwards = level->t & 1;
    while (at < end) {
        for (worker->step.rows = 0; at < end && worker->step.rows < CHUNK_ROWS; at++) {
            level->set(worker, level, level->call->order[at]);
        }
        if (worker->watch.has_stopped || level->kernel(&worker->step, &worker->watch)) return true;
    }
    return false;
}

static void run_level_part(void *work, size_t part, size_t thread) {
    level *level = work;
    if (__atomic_load_n(&level->has_stopped, __ATOMIC_RELAXED)) return;
    worker *worker = &level->call->workers[thread];
    size_t first = level->first, end = level->end, blocks = ur_block_count(worker->step.hidden);
    if (level->part_rows) {
        first += part * level->part_rows;
        if (end - first > level->part_rows) end = first + level->part_rows;
    } else {
        worker->step.first_block = part * blocks / level->part_count;
        worker->step.end_block = (part + 1) * blocks / level->part_count;
    }
    if (run_rows(level, worker, first, end)) __atomic_store_n(&level->has_stopped, true, __ATOMIC_RELAXED);
    worker->step.first_block = 0;
    worker->step.end_block = blocks;
}

/* Chooses the parts of a step: columns of a few rows, so that each thread's columns stay in its own cache, else rows. */
static void choose_parts(level *level) {
    size_t threads = level->call->worker_count, rows = level->end - level->first;
    const ur_spec *spec = &level->call->states->weights->spec;
    bool has_columns = ur_block_count(spec->hidden) >= threads && !spec->projection;
    level->part_rows = 0;
    level->part_count = threads;
    if (rows < MIN_SHARED_ROWS * threads && has_columns) return;
    size_t chunks = rows / CHUNK_ROWS, most = MAX_PARTS_OF_WORK / threads * threads;
    size_t parts = chunks < threads ? threads : chunks < most ? chunks : most;
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    level->part_rows = (tiles + parts - 1) / parts * TILE_ROWS;
    level->part_count = (rows + level->part_rows - 1) / level->part_rows;
}

/* Computes the items of the call's order from the end of the last step to `end`. */
static int run_step(level *level, size_t end) {
    level->end = end;
    if (level->call->worker_count > 1 && (end - level->first) * level->row_work >= MIN_SHARED_WORK) {
        choose_parts(level);
        ur_share(run_level_part, level, level->part_count, level->call->worker_count);
    } else if (run_rows(level, level->call->workers, level->first, end)) {
        level->has_stopped = true;
    }
    level->first = end;
    level->t++;
    return level->has_stopped ? UR_STOPPED : UR_OK;
}

/* Draws the vector of a random word into the worker's memory for row `at` of a chunk. */
static const float *draw_vector(worker *to, const ur_spec *spec, int32_t symbol, size_t at) {
    float *vector = to->vectors + at * spec->inputs;
    to->watch.has_stopped |= ur_must_stop(&to->watch, ur_drawing_work(spec));
    if (!to->watch.has_stopped) ur_draw_word(spec->word_seed, symbol, vector, spec->inputs);
    return vector;
}

static const float *vector_of(const ur_weights *weights, int32_t symbol) {
    const ur_spec *spec = &weights->spec;
    if ((size_t)symbol < spec->vector_count) return spec->vectors + (size_t)symbol * spec->inputs;
    return (size_t)symbol == spec->vector_count ? weights->zero_vector : spec->mean_vector;
}

static float *input_sums_of(const prefix_tree *tree, int32_t symbol) {
    return ur_row(&tree->input_sums, hash_find(&tree->input_rows, (uint32_t)symbol));
}

static void set_input_sums(worker *to, const level *level, size_t item) {
    size_t at = to->step.rows++;
    int32_t symbol = level->call->new_rows[item].symbol;
    const ur_weights *weights = level->call->states->weights;
    bool is_drawn = weights->spec.has_random_words;
    to->base[at] = level->weights->base;
    to->x[0][at] = is_drawn ? draw_vector(to, &weights->spec, symbol, at) : vector_of(weights, symbol);
    to->h_out[at] = input_sums_of(&level->call->states->trees[level->direction], symbol);
}

/* Computes the sums that the vectors of new symbols add, once for each symbol. */
static int compute_input_sums(ur_call *call, prefix_tree *tree, int32_t direction, size_t new_count) {
    size_t symbols = call->states->weights->spec.symbols, most = tree->input_rows.count + new_count, count = 0;
    /* Row 0 is unused, and one more symbol stands for zeros. */
    if (ur_table_reserve(&tree->input_sums, 1 + (most < symbols ? most : symbols + 1))) return UR_NO_MEMORY;
    for (size_t at = 0; at < new_count; at++) {
        uint32_t next = (uint32_t)tree->input_rows.count + 1;
        uint32_t row = hash_find_or_add(&tree->input_rows, (uint32_t)call->new_rows[at].symbol, next, &call->watch);
        if (!row) return no_slot(call);
        if (row == next) call->order[count++] = (uint32_t)at;
    }
    level level = level_of(call, 0, direction, false);
    level.row_work += ur_drawing_work(&call->states->weights->spec);
    level.kernel = call->states->weights->kernels->input_sums;
    level.set = set_input_sums;
    for (size_t at = 0; at < call->worker_count; at++) call->workers[at].step.state_weights = NULL;
    return count ? run_step(&level, count) : UR_OK;
}

/* Sets the pointers of one new row in one layer. */
static void set_row(worker *to, const level *level, size_t item) {
    const ur_weights *weights = level->call->states->weights;
    const prefix_tree *tree = &level->call->states->trees[level->direction];
    const new_row *new = &level->call->new_rows[item];
    size_t at = to->step.rows++;
    to->base[at] = level->weights->base;
    if (level->layer) {
        to->x[0][at] = ur_row(&tree->h[level->layer - 1], new->row);
    } else if (weights->spec.is_one_hot) {
        to->base[at] += (size_t)new->symbol * weights->sum_size;
    } else {
        to->base[at] = input_sums_of(tree, new->symbol);
    }
    to->h[at] = ur_row(&tree->h[level->layer], new->parent);
    to->h_out[at] = ur_row(&tree->h[level->layer], new->row);
    if (!ur_is_lstm(&weights->spec)) return;
    to->c[at] = ur_row(&tree->c[level->layer], new->parent);
    to->c_out[at] = ur_row(&tree->c[level->layer], new->row);
}

/* Computes the new rows of one layer, depth by depth. */
static int compute_layer(ur_call *call, int32_t direction, int32_t layer) {
    level level = level_of(call, layer, direction, !layer);
    level.set = set_row;
    int status = UR_OK;
    for (size_t depth = 0; depth < call->max_length && status == UR_OK; depth++) {
        status = run_step(&level, call->counts[depth]);
    }
    return status;
}

/* Makes room for a tree's rows, and writes its initial states when they are first needed. */
static int reserve_rows(ur_states *states, int32_t direction) {
    const ur_weights *weights = states->weights;
    prefix_tree *tree = &states->trees[direction];
    size_t h_size = weights->state_size, c_size = weights->spec.hidden, roots = states->root_count;
    bool is_fresh = !tree->h[0].blocks[0];
    for (int32_t layer = 0; layer < states->tree_layers; layer++) {
        size_t at = ((size_t)(layer * weights->spec.directions) + (size_t)direction) * roots;
        if (ur_table_reserve(&tree->h[layer], tree->next_row)) return UR_NO_MEMORY;
        if (states->start_c && ur_table_reserve(&tree->c[layer], tree->next_row)) return UR_NO_MEMORY;
        for (uint32_t root = 0; is_fresh && root < roots; root++) {
            memcpy(ur_row(&tree->h[layer], root + 1), states->start_h + (at + root) * h_size, sizeof(float) * h_size);
            if (!states->start_c) continue;
            memcpy(ur_row(&tree->c[layer], root + 1), states->start_c + (at + root) * c_size, sizeof(float) * c_size);
        }
    }
    return UR_OK;
}

static int compute_rows(ur_call *call, int32_t direction, size_t new_count) {
    ur_states *states = call->states;
    const ur_spec *spec = &states->weights->spec;
    prefix_tree *tree = &states->trees[direction];
    int status = reserve_rows(states, direction);
    if (status == UR_OK && !spec->is_one_hot) {
        status = compute_input_sums(call, tree, direction, new_count);
        if (status != UR_OK) { /* some sums are missing */
            hash_clear(&tree->input_rows);
            ur_table_clear(&tree->input_sums);
        }
    }
    sort_by_key(call, new_count, call->max_length, depth_of);
    for (int32_t layer = 0; layer < states->tree_layers && status == UR_OK; layer++) {
        status = compute_layer(call, direction, layer);
    }
    return status == UR_OK ? UR_OK : leave_rows(call, tree, new_count, status);
}

static int compute_tree(ur_call *call, int32_t direction) {
    size_t new_count = 0;
    for (size_t word = 0; word < call->word_count; word++) {
        int status = find_path(call, direction, &call->words[word], &new_count);
        if (status != UR_OK) return leave_rows(call, &call->states->trees[direction], new_count, status);
    }
    return new_count ? compute_rows(call, direction, new_count) : UR_OK;
}

/* Finds or adds the places of all words above the first layer. */
static int find_places(ur_call *call) {
    ur_states *states = call->states;
    int status = UR_OK;
    for (size_t at = 0; at < call->word_count && status == UR_OK; at++) {
        call_word *word = &call->words[at];
        if (!word->length) continue;
        uint32_t last = call->paths[0][word->first + word->length - 1];
        word->place = hash_find_or_add(&states->places, last, states->next_place, &call->watch);
        if (!word->place) return no_slot(call);
        bool is_new = word->place == states->next_place;
        if (is_new) {
            states->next_place += (uint32_t)word->length;
            states->row_count += 2 * word->length;
        }
        if (is_new || take_pending(&states->pending_words, word->place)) {
            call->new_words[call->new_word_count++] = (uint32_t)at;
        }
        status = check(call, 1);
    }
    return status;
}

/* Sets the pointers of one new word at the current step of a layer above the first. */
static void set_place(worker *to, const level *level, size_t item) {
    const ur_call *call = level->call;
    const ur_states *states = call->states;
    const ur_spec *spec = &states->weights->spec;
    const call_word *word = &call->words[call->new_words[item]];
    int32_t layer = level->layer, direction = level->direction;
    size_t at = to->step.rows++, state = states->weights->state_size, half = (size_t)direction, t = level->t;
    size_t position = direction ? word->length - 1 - t : t;
    uint32_t place = word->place + (uint32_t)position, parent = direction ? place + 1 : place - 1;
    const row_table *h = &states->above_h[layer - 1], *c = &states->above_c[layer - 1];
    to->base[at] = level->weights->base;
    for (int below = 0; below < 2; below++) {
        to->x[below][at] = layer == 1 ? ur_row(states->trees[below].h, call->paths[below][word->first + position])
                                      : ur_row(h - 1, place) + (size_t)below * state;
    }
    to->h[at] = t ? ur_row(h, parent) + half * state : ur_start(states, layer, direction, word->root, false);
    to->h_out[at] = ur_row(h, place) + half * state;
    if (!ur_is_lstm(spec)) return;
    to->c[at] = t ? ur_row(c, parent) + half * spec->hidden : ur_start(states, layer, direction, word->root, true);
    to->c_out[at] = ur_row(c, place) + half * spec->hidden;
}

static int compute_direction_above(ur_call *call, int32_t layer, int32_t direction) {
    level level = level_of(call, layer, direction, false);
    level.set = set_place;
    int status = UR_OK;
    for (size_t t = 0; t < call->max_length && status == UR_OK; t++) {
        level.first = 0;
        status = run_step(&level, call->counts[call->max_length - t - 1]); /* the words longer than t */
    }
    return status;
}

static int compute_above(ur_call *call) {
    ur_states *states = call->states;
    int status = find_places(call);
    if (status == UR_OK) sort_by_key(call, call->new_word_count, call->max_length, shortness_of);
    for (int32_t layer = 1; layer < states->weights->spec.layers && status == UR_OK; layer++) {
        if (ur_table_reserve(&states->above_h[layer - 1], states->next_place) ||
            (states->start_c && ur_table_reserve(&states->above_c[layer - 1], states->next_place))) {
            status = UR_NO_MEMORY;
        }
        for (int32_t direction = 0; direction < 2 && status == UR_OK; direction++) {
            status = compute_direction_above(call, layer, direction);
        }
    }
    return status == UR_OK ? UR_OK : leave_words(call, status);
}

int ur_compute(ur_call *call) {
    int status = UR_OK;
    for (int32_t direction = 0; direction < call->states->weights->spec.directions && status == UR_OK; direction++) {
        status = compute_tree(call, direction);
    }
    if (status == UR_OK && ur_upper_layers(call->states)) status = compute_above(call);
    if (status == UR_FULL || status == UR_NO_MEMORY) ur_drop_states(call->states);
    if (status == UR_NO_MEMORY) ur_release_tables(call->states);
    return status;
}
