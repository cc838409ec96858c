/* Threads that share the parts of one piece of work. */
#ifndef UNROLLED_THREADS_H
#define UNROLLED_THREADS_H

#include "kernels.h"

#define MAX_THREADS 32
#define MAX_PARTS_OF_WORK 32

/* Work below a limit is not shared, because that would take longer than it gains. Debug builds share all, so that tests of
 * small networks use threads. */
#ifdef UR_DEBUG
#define MIN_SHARED(limit) ((size_t)1)
#else
#define MIN_SHARED(limit) ((size_t)(limit))
#endif

/* Runs one part on one of the threads, which are numbered from 0, the caller, on. */
typedef void ur_part(void *work, size_t part, size_t thread);

/* Returns how many threads may share work, the caller's included. */
size_t ur_thread_count(void);
/* Runs parts 0 to part_count - 1 (at most MAX_PARTS_OF_WORK), on up to `thread_count` threads unless another call uses them.
 * Part t is first offered to thread t, so that the same part of the next work finds its data in the same core's cache. */
void ur_share(ur_part *run, void *work, size_t part_count, size_t thread_count);

#endif
