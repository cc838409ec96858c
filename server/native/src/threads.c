/* A pool of threads. A call that shares work publishes its parts in one atomic word; threads take them until none is left.
 *
 * Helpers spin for some microseconds after the last part, because the next step of a call follows soon, and then sleep. The
 * caller takes part itself and waits only for parts that a helper has taken, so a helper that sleeps delays nothing.
 */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#define SPINS 4000       /* of a helper before it sleeps: about 50 us */
#define CALLER_SPINS 200 /* of the caller before it lets other threads run */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    size_t thread_count; /* the caller's included; 0: as 1 */
    size_t started;      /* helpers */
    size_t sleeping;
    int is_taken;        /* by a call */
    /* The number of the work in the upper half, and a bit for each part that nobody has taken. A helper that comes late
     * can't take a part of other work than the one it read `run` and `work` of. */
    uint64_t offer;
    ur_part *run;
    void *work;
    size_t unfinished;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* Runs a part that nobody has taken, preferably the one of the thread's number; returns whether there was one. */
static bool run_part(size_t thread) {
    uint64_t offer = __atomic_load_n(&pool.offer, __ATOMIC_ACQUIRE);
    while ((uint32_t)offer && thread < __atomic_load_n(&pool.thread_count, __ATOMIC_RELAXED)) {
        uint32_t left = (uint32_t)offer;
        size_t part = left >> thread & 1 ? thread : (size_t)__builtin_ctz(left);
        ur_part *run = __atomic_load_n(&pool.run, __ATOMIC_RELAXED);
        void *work = __atomic_load_n(&pool.work, __ATOMIC_RELAXED);
        if (!__atomic_compare_exchange_n(&pool.offer, &offer, offer & ~((uint64_t)1 << part), false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            continue;
        }
        run(work, part, thread);
        __atomic_sub_fetch(&pool.unfinished, 1, __ATOMIC_RELEASE);
        return true;
    }
    return false;
}

static bool is_offered(void) { return (uint32_t)__atomic_load_n(&pool.offer, __ATOMIC_SEQ_CST); }

static void sleep_until_offered(void) {
    pthread_mutex_lock(&pool.mutex);
    __atomic_add_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
    while (!is_offered()) pthread_cond_wait(&pool.wake, &pool.mutex);
    __atomic_sub_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.mutex);
}

static void *help(void *number) {
    size_t thread = (size_t)(uintptr_t)number;
    ur_enter_float_mode();
    for (;;) {
        for (int spin = 0; spin < SPINS; spin++) {
            if (run_part(thread)) spin = 0;
            pause_cpu();
        }
        sleep_until_offered();
    }
    return NULL;
}

/* Starts the helpers that are missing, as far as the system allows. Signals stay with the threads of the process. */
static void start_helpers(size_t count) {
    if (pool.started >= count) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.started < count) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, (void *)(uintptr_t)(pool.started + 1))) break;
        pthread_detach(thread);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A forked child has none of the helpers, and perhaps locks that nobody will release. */
static void forget_helpers(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.started = pool.sleeping = pool.unfinished = 0;
    pool.is_taken = 0;
    pool.offer = 0;
}

void ur_set_threads(size_t count) {
    static int is_registered;
    if (!__atomic_exchange_n(&is_registered, 1, __ATOMIC_RELAXED)) pthread_atfork(NULL, NULL, forget_helpers);
    __atomic_store_n(&pool.thread_count, count < MAX_THREADS ? count : MAX_THREADS, __ATOMIC_RELAXED);
}

size_t ur_thread_count(void) {
    size_t count = __atomic_load_n(&pool.thread_count, __ATOMIC_RELAXED);
    return count ? count : 1;
}

/* Publishes work, and wakes helpers that sleep. */
static void offer(ur_part *run, void *work, size_t part_count) {
    __atomic_store_n(&pool.run, run, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.work, work, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.unfinished, part_count, __ATOMIC_RELAXED);
    uint64_t number = (__atomic_load_n(&pool.offer, __ATOMIC_RELAXED) >> 32) + 1;
    __atomic_store_n(&pool.offer, (number << 32) | (((uint64_t)1 << part_count) - 1), __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&pool.sleeping, __ATOMIC_SEQ_CST)) return;
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.mutex);
}

void ur_share(ur_part *run, void *work, size_t part_count) {
    if (part_count < 2 || ur_thread_count() < 2 || __atomic_exchange_n(&pool.is_taken, 1, __ATOMIC_ACQUIRE)) {
        for (size_t part = 0; part < part_count; part++) run(work, part, 0);
        return;
    }
    start_helpers(ur_thread_count() - 1);
    offer(run, work, part_count);
    while (run_part(0)) continue;
    for (int spin = 0; __atomic_load_n(&pool.unfinished, __ATOMIC_ACQUIRE); spin++) {
        if (spin < CALLER_SPINS) {
            pause_cpu();
        } else {
            sched_yield();
        }
    }
    __atomic_store_n(&pool.is_taken, 0, __ATOMIC_RELEASE);
}
