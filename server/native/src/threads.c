/* A pool of threads. A call that shares work publishes its parts in one atomic word; threads take them until none is left.
 *
 * Helpers spin for some microseconds after the last part, because the next step of a call follows soon, and then sleep. The
 * caller takes part itself and waits only for parts that a helper has taken, so a helper that sleeps delays nothing.
 */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "memory.h"

/* Spins before a thread sleeps, of some 40 ns. On a busy machine the caller must sleep soon: the kernel then gives its CPU to
 * the helper that it waits for. */
#define HELPER_SPINS 2500
#define CALLER_SPINS 2500
/* A helper that gets no CPU would make each step wait for a time slice. After a wait this much longer than the caller's own
 * parts took, no work is shared for so many times the wait. */
#define MAX_WAIT_NS 20000
#define PAUSE_PER_WAIT 10

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t offered, finished;
    size_t thread_count; /* the caller's included; 0: as 1 */
    pthread_t helpers[MAX_THREADS - 1];
    size_t started;      /* helpers */
    size_t sleeping;
    bool is_ending, is_caller_sleeping;
    int is_taken;        /* by a call, or by what ends helpers */
    /* The number of the work in the upper half, and a bit for each part that no thread has taken. A helper that comes late
     * can't take a part of other work than the one it read `run`, `work` and `work_threads` of. */
    uint64_t offer;
    ur_part *run;
    void *work;
    size_t work_threads; /* thread_count may change meanwhile */
    size_t unfinished;
    int64_t resumes_ns; /* shares no work before */
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .offered = PTHREAD_COND_INITIALIZER,
          .finished = PTHREAD_COND_INITIALIZER};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

static void wake(pthread_cond_t *condition) {
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_broadcast(condition);
    pthread_mutex_unlock(&pool.mutex);
}

/* Runs a part that no thread has taken, preferably the one of the thread's number; returns whether there was one. */
static bool run_part(size_t thread) {
    uint64_t offer = __atomic_load_n(&pool.offer, __ATOMIC_ACQUIRE);
    while ((uint32_t)offer && thread < __atomic_load_n(&pool.work_threads, __ATOMIC_RELAXED)) {
        uint32_t left = (uint32_t)offer;
        size_t part = left >> thread & 1 ? thread : (size_t)__builtin_ctz(left);
        ur_part *run = __atomic_load_n(&pool.run, __ATOMIC_RELAXED);
        void *work = __atomic_load_n(&pool.work, __ATOMIC_RELAXED);
        if (!__atomic_compare_exchange_n(&pool.offer, &offer, offer & ~((uint64_t)1 << part), false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            continue;
        }
        run(work, part, thread);
        if (!__atomic_sub_fetch(&pool.unfinished, 1, __ATOMIC_SEQ_CST) &&
            __atomic_load_n(&pool.is_caller_sleeping, __ATOMIC_SEQ_CST)) {
            wake(&pool.finished);
        }
        return true;
    }
    return false;
}

static bool is_offered(void) { return (uint32_t)__atomic_load_n(&pool.offer, __ATOMIC_SEQ_CST); }

static bool is_ending(void) { return __atomic_load_n(&pool.is_ending, __ATOMIC_ACQUIRE); }

static void sleep_until_offered(void) {
    pthread_mutex_lock(&pool.mutex);
    __atomic_add_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
    while (!is_offered() && !is_ending()) pthread_cond_wait(&pool.offered, &pool.mutex);
    __atomic_sub_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.mutex);
}

static void *help(void *number) {
    size_t thread = (size_t)(uintptr_t)number;
    ur_enter_float_mode();
    while (!is_ending()) {
        for (int spin = 0; spin < HELPER_SPINS; spin++) {
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
        if (pthread_create(&pool.helpers[pool.started], NULL, help, (void *)(uintptr_t)(pool.started + 1))) break;
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Ends all helpers, once no call uses them. */
static void end_helpers(void) {
    while (__atomic_exchange_n(&pool.is_taken, 1, __ATOMIC_ACQUIRE)) sched_yield();
    __atomic_store_n(&pool.is_ending, true, __ATOMIC_RELEASE);
    wake(&pool.offered);
    while (pool.started) pthread_join(pool.helpers[--pool.started], NULL);
    pool.resumes_ns = 0;
    __atomic_store_n(&pool.is_ending, false, __ATOMIC_RELEASE);
    __atomic_store_n(&pool.is_taken, 0, __ATOMIC_RELEASE);
}

/* A forked child has none of the helpers, and perhaps locks that no thread will release. */
static void forget_other_threads(void) {
    ur_forget_kept_lock();
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.offered, NULL);
    pthread_cond_init(&pool.finished, NULL);
    pool.started = pool.sleeping = pool.unfinished = 0;
    pool.is_ending = pool.is_caller_sleeping = false;
    pool.is_taken = 0;
    pool.offer = 0;
    pool.resumes_ns = 0;
}

void ur_set_threads(size_t count) {
    static int is_registered;
    if (!__atomic_exchange_n(&is_registered, 1, __ATOMIC_RELAXED)) pthread_atfork(NULL, NULL, forget_other_threads);
    if (count > MAX_THREADS) count = MAX_THREADS;
    if (__atomic_exchange_n(&pool.thread_count, count, __ATOMIC_RELAXED) > count) end_helpers();
}

size_t ur_thread_count(void) {
    size_t count = __atomic_load_n(&pool.thread_count, __ATOMIC_RELAXED);
    return count ? count : 1;
}

/* Publishes work, and wakes helpers that sleep. */
static void offer(ur_part *run, void *work, size_t part_count, size_t thread_count) {
    __atomic_store_n(&pool.run, run, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.work, work, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.work_threads, thread_count, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.unfinished, part_count, __ATOMIC_RELAXED);
    uint64_t number = (__atomic_load_n(&pool.offer, __ATOMIC_RELAXED) >> 32) + 1;
    __atomic_store_n(&pool.offer, (number << 32) | (((uint64_t)1 << part_count) - 1), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.sleeping, __ATOMIC_SEQ_CST)) wake(&pool.offered);
}

static bool is_finished(void) { return !__atomic_load_n(&pool.unfinished, __ATOMIC_SEQ_CST); }

/* Waits for the parts that helpers run. The caller's own parts took from `began_ns` on. */
static void wait_until_finished(int64_t began_ns) {
    for (int spin = 0; spin < CALLER_SPINS; spin++) {
        if (is_finished()) return;
        pause_cpu();
    }
    int64_t ended_ns = ur_clock_ns();
    pthread_mutex_lock(&pool.mutex);
    __atomic_store_n(&pool.is_caller_sleeping, true, __ATOMIC_SEQ_CST);
    while (!is_finished()) pthread_cond_wait(&pool.finished, &pool.mutex);
    __atomic_store_n(&pool.is_caller_sleeping, false, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.mutex);
    int64_t now_ns = ur_clock_ns(), waited_ns = now_ns - ended_ns;
    if (waited_ns > ended_ns - began_ns + MAX_WAIT_NS) pool.resumes_ns = now_ns + PAUSE_PER_WAIT * waited_ns;
}

static void run_alone(ur_part *run, void *work, size_t part_count) {
    for (size_t part = 0; part < part_count; part++) run(work, part, 0);
}

void ur_share(ur_part *run, void *work, size_t part_count, size_t thread_count) {
    if (part_count < 2 || thread_count < 2 || __atomic_exchange_n(&pool.is_taken, 1, __ATOMIC_ACQUIRE)) {
        run_alone(run, work, part_count);
        return;
    }
    int64_t began_ns = ur_clock_ns();
    /* Perhaps fewer than when the call began: helpers that were ended are not started again. */
    size_t most = ur_thread_count();
    if (thread_count > most) thread_count = most;
    if (thread_count < 2 || began_ns < pool.resumes_ns) {
        run_alone(run, work, part_count);
    } else {
        start_helpers(thread_count - 1);
        offer(run, work, part_count, thread_count);
        while (run_part(0)) continue;
        wait_until_finished(began_ns);
    }
    __atomic_store_n(&pool.is_taken, 0, __ATOMIC_RELEASE);
}
