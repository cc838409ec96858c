/* Threads on shared weights: each runs calls on states of its own and on common ones, while one thread asks all states what
 * they know and another one stops calls. The core's own threads, which share the work of a call, and a forked child. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "states.h"
#include "testing.h"

#define RUNNERS 3

/* The linker replaces ur_must_stop: these calls are small, and would end before flag and clock are read. */
bool __real_ur_must_stop(ur_watch *watch, uint64_t work);
bool __wrap_ur_must_stop(ur_watch *watch, uint64_t work);
bool __wrap_ur_must_stop(ur_watch *watch, uint64_t work) { return __real_ur_must_stop(watch, work << 8); }

typedef struct runner {
    const network *network;
    const text *text;
    ur_states *own, *common;
    volatile int32_t stop;
    uint64_t random;
    size_t calls, stopped;
} runner;

static runner runners[RUNNERS];
static int is_done;

static bool is_over(void) { return __atomic_load_n(&is_done, __ATOMIC_ACQUIRE); }

static void *run_calls(void *given) {
    runner *me = given;
    for (size_t call = 0; call < me->calls; call++) {
        text part = random_part(&me->random, me->text, me->text->count);
        ur_words words = words_of(&part);
        reply r = new_reply(&me->random, me->network, &part, (int32_t)random_below(&me->random, 6));
        ur_states *states = call % 2 ? me->own : me->common;
        int64_t deadline_ns = call % 8 == 5; /* passed */
        int status = ur_run(states, WORDS(words), &r.given, 0, &me->stop, deadline_ns);
        CHECK(status == UR_OK || status == UR_STOPPED, "status %d", status);
        if (status == UR_OK) check_reply(me->network, &part, &r);
        me->stopped += status == UR_STOPPED;
        __atomic_store_n(&me->stop, 0, __ATOMIC_RELAXED);
        if (call % 8 == 7) ur_states_clear(me->own);
        free_reply(&r);
        free_part(&part);
    }
    return NULL;
}

static void *ask(void *given) {
    uint64_t random = 1;
    size_t *known = given;
    while (!is_over()) {
        const runner *of = &runners[random_below(&random, RUNNERS)];
        text part = random_part(&random, of->text, 3);
        ur_words words = words_of(&part);
        *known += (size_t)ur_is_known(of->common, WORDS(words)) + (size_t)ur_is_known(of->own, WORDS(words));
        free_part(&part);
        sched_yield();
    }
    return NULL;
}

static void *stop_calls(void *given) {
    (void)given;
    for (size_t at = 0; !is_over(); at++) {
        __atomic_store_n(&runners[at % RUNNERS].stop, 1, __ATOMIC_RELAXED);
        for (int pause = 0; pause < 50; pause++) sched_yield();
    }
    return NULL;
}

/* A call that waits for another one watches its deadline. */
static void check_waiting(ur_states *states, const text *t) {
    ur_words words = words_of(t);
    ur_reply none = {.output = UR_NONE};
    states->lock = 1;
    CHECK(ur_run(states, WORDS(words), &none, 0, NULL, 1) == UR_STOPPED, "waited for ever");
    CHECK(!ur_is_known(states, WORDS(words)), "known without looking");
    states->lock = 0;
}

static void check_network(const network *n, const text *t, size_t calls, size_t *known, size_t *stopped) {
    ur_weights *weights = ur_weights_new(&n->spec, n->parameters);
    ur_states *common = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
    check_waiting(common, t);
    pthread_t threads[RUNNERS + 2];
    __atomic_store_n(&is_done, 0, __ATOMIC_RELEASE);
    for (size_t at = 0; at < RUNNERS; at++) {
        ur_states *own = ur_states_new(weights, n->start_count, n->start_h, n->start_c);
        runners[at] = (runner){.network = n, .text = t, .own = own, .common = common, .random = at, .calls = calls};
    }
    for (size_t at = 0; at < RUNNERS; at++) {
        CHECK(!pthread_create(&threads[at], NULL, run_calls, &runners[at]), "no thread");
    }
    CHECK(!pthread_create(&threads[RUNNERS], NULL, ask, known), "no thread");
    CHECK(!pthread_create(&threads[RUNNERS + 1], NULL, stop_calls, NULL), "no thread");
    for (size_t at = 0; at < RUNNERS; at++) pthread_join(threads[at], NULL);
    __atomic_store_n(&is_done, 1, __ATOMIC_RELEASE);
    for (size_t at = RUNNERS; at < RUNNERS + 2; at++) pthread_join(threads[at], NULL);
    for (size_t at = 0; at < RUNNERS; at++) {
        *stopped += runners[at].stopped;
        ur_states_free(runners[at].own);
    }
    ur_states_free(common);
    ur_weights_free(weights);
}

/* Jobs of several networks run side by side, some of them stopped by a full table, give the states that calls alone give. */
static void check_many(uint64_t random) {
    enum { JOBS = 7 };
    network networks[JOBS];
    text texts[JOBS];
    ur_weights *weights[JOBS];
    ur_job jobs[JOBS];
    for (size_t at = 0; at < JOBS; at++) {
        while (networks[at] = random_network(&random, 60), networks[at].start_count) free_network(&networks[at]);
        texts[at] = random_text(&random, &networks[at], 40, 20);
        compute_expected(&texts[at], &networks[at]);
        weights[at] = ur_weights_new(&networks[at].spec, networks[at].parameters);
        ur_states *states = ur_states_new(weights[at], 0, NULL, NULL);
        size_t max_rows = at == 3; /* full at its second row */
        jobs[at] = (ur_job){states, texts[at].symbols, texts[at].lengths, texts[at].count, max_rows, -1};
    }
    ur_run_many(jobs, JOBS);
    for (size_t at = 0; at < JOBS; at++) {
        ur_words words = words_of(&texts[at]);
        CHECK(jobs[at].status == (at == 3 ? UR_FULL : UR_OK), "status %d of job %zu", jobs[at].status, at);
        CHECK(ur_is_known(jobs[at].states, WORDS(words)) == (at != 3), "job %zu", at);
        run_and_check(&random, &networks[at], jobs[at].states, &texts[at], UR_ALL);
        ur_states_free(jobs[at].states);
        ur_weights_free(weights[at]);
        free_text(&texts[at]);
        free_network(&networks[at]);
    }
}

/* Wide enough and long enough that release builds share steps, by rows and by columns, and the reply. */
static void check_shared(uint64_t random, size_t hidden, size_t words) {
    network n = {.spec = {.cell = (int32_t)(random % 4), .layers = 1, .directions = 1 + (int32_t)(random & 1), .is_one_hot = 1,
                          .hidden = hidden, .inputs = 5, .symbols = 5},
                 .state = hidden, .output = hidden * (1 + (random & 1))};
    draw_parameters(&n, &random, true, 1 / sqrtf((float)hidden), false);
    text t = random_text(&random, &n, words, 1 + 1200 / words);
    compute_expected(&t, &n);
    ur_weights *weights = ur_weights_new(&n.spec, n.parameters);
    uint64_t digests[3];
    for (size_t threads = 1; threads <= 3; threads++) {
        ur_set_threads(threads);
        uint64_t same = random;
        ur_states *states = ur_states_new(weights, 0, NULL, NULL);
        digests[threads - 1] = run_and_check(&same, &n, states, &t, UR_ALL);
        run_and_check(&same, &n, states, &t, UR_DISTINCT);
        ur_states_free(states);
    }
    CHECK(digests[0] == digests[1] && digests[0] == digests[2], "the number of threads changed bits");
    ur_weights_free(weights);
    free_text(&t);
    free_network(&n);
}

typedef struct counted_parts {
    size_t runs[MAX_PARTS_OF_WORK], thread_count;
} counted_parts;

static void count_part(void *work, size_t part, size_t thread) {
    counted_parts *parts = work;
    CHECK(thread < parts->thread_count, "thread %zu of %zu", thread, parts->thread_count);
    parts->runs[part]++;
}

/* Shares work from several threads; each part runs once, on no more threads than the work has. */
static void *share_parts(void *seed) {
    uint64_t random = (uintptr_t)seed;
    for (size_t at = 0; at < 3000; at++) {
        size_t part_count = 1 + random_below(&random, MAX_PARTS_OF_WORK);
        counted_parts parts = {.thread_count = 1 + random_below(&random, 8)};
        ur_share(count_part, &parts, part_count, parts.thread_count);
        for (size_t part = 0; part < MAX_PARTS_OF_WORK; part++) {
            CHECK(parts.runs[part] == (part < part_count), "part %zu ran %zu times", part, parts.runs[part]);
        }
    }
    return NULL;
}

/* Sets other numbers of threads while calls share work. */
static void *change_threads(void *seed) {
    uint64_t random = (uintptr_t)seed;
    while (!is_over()) {
        ur_set_threads(random_below(&random, 9));
        for (size_t pause = random_below(&random, 50); pause; pause--) sched_yield();
    }
    return NULL;
}

static size_t count_threads(void) {
    size_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (readdir(tasks)) count++;
    closedir(tasks);
    return count;
}

/* Waits for threads that were joined: the system lists them for some microseconds more. */
static void check_thread_count(size_t expected) {
    for (int pause = 0; pause < 1000000 && count_threads() != expected; pause++) sched_yield();
    CHECK(count_threads() == expected, "%zu threads, not %zu", count_threads(), expected);
}

static void check_parts(void) {
    pthread_t others[2];
    CHECK(!pthread_create(&others[0], NULL, share_parts, (void *)3), "no thread"); /* sanitizers start one of their own */
    pthread_join(others[0], NULL);
    size_t thread_count = count_threads();
    ur_set_threads(8);
    share_parts((void *)5);
    CHECK(count_threads() > thread_count, "no helpers");
    CHECK(!pthread_create(&others[0], NULL, share_parts, (void *)1), "no thread");
    CHECK(!pthread_create(&others[1], NULL, change_threads, (void *)4), "no thread");
    share_parts((void *)2);
    pthread_join(others[0], NULL);
    __atomic_store_n(&is_done, 1, __ATOMIC_RELEASE);
    pthread_join(others[1], NULL);
    ur_set_threads(1);
    check_thread_count(thread_count);
}

/* A child that is forked while threads exist computes with threads of its own. */
static inline void check_fork(void) {
    pid_t child = fork();
    CHECK(child >= 0, "no child");
    if (!child) {
        check_shared(5, 70, 40);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && !status, "status %d", status);
}

int main(int argc, char **argv) {
    size_t cases = argc > 1 ? strtoul(argv[1], NULL, 10) : 12, known = 0, stopped = 0;
    check_parts();
    for (size_t at = 0; at < cases; at++) {
        ur_set_threads(1 + at % 3);
        check_many(at);
        check_shared(at, at % 2 ? 100 : 260, at % 2 ? 60 : 3);
#ifndef __SANITIZE_THREAD__ /* which allows no threads in a forked child */
        if (at < 2) check_fork();
#endif
        ur_set_threads(1 + at % 3);
        uint64_t random = at + ((uint64_t)2 << 32);
        network n = random_network(&random, 100);
        text t = random_text(&random, &n, 60, 20);
        compute_expected(&t, &n);
        check_network(&n, &t, 24, &known, &stopped);
        free_text(&t);
        free_network(&n);
    }
    ur_set_threads(1);
    printf("%zu networks: %zu calls stopped, %zu times known\n", cases, stopped, known);
}
