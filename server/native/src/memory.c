#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels.h"

/* A smaller mapping would waste a good part of its last page. */
#define MIN_MAPPED ((size_t)64 << 10)
/* Page faults take a sixth of the time of computing new rows into larger tables; at most 2 MB of a table stay unused. */
#define MIN_HUGE ((size_t)4 << 20)
#define CACHE_LINE ((size_t)64)
/* Released mappings up to MAX_POOLED are kept for the next ones of their size, 16 MB at most: on a virtual machine the
 * first write to a new page takes 2.5 us, 40 % of the time of 500 new rows of 64 columns. */
#define POOL_SLOTS 16
#define MAX_POOLED ((size_t)1 << 20)

typedef struct mapping {
    void *memory;
    size_t size;
} mapping;

static struct {
    int lock;
    size_t next; /* the slot that was filled longest ago */
    mapping slots[POOL_SLOTS];
} pool;

/* Never waits: a forked child may find the pool locked for ever. It then works without the pool. */
static bool lock_pool(void) { return !__atomic_exchange_n(&pool.lock, 1, __ATOMIC_ACQUIRE); }

static void unlock_pool(void) { __atomic_store_n(&pool.lock, 0, __ATOMIC_RELEASE); }

/* Takes a mapping of this size out of the pool; returns NULL if there is none. */
static void *take_pooled(size_t size) {
    void *memory = NULL;
    if (size > MAX_POOLED || !lock_pool()) return NULL;
    for (size_t at = 0; at < POOL_SLOTS && !memory; at++) {
        if (pool.slots[at].size != size) continue;
        memory = pool.slots[at].memory;
        pool.slots[at] = (mapping){0};
    }
    unlock_pool();
    return memory;
}

/* Puts a mapping into the pool, instead of the oldest there; returns what must be unmapped. */
static mapping put_pooled(mapping released) {
    if (released.size > MAX_POOLED || !lock_pool()) return released;
    mapping oldest = pool.slots[pool.next];
    pool.slots[pool.next] = released;
    pool.next = (pool.next + 1) % POOL_SLOTS;
    unlock_pool();
    return oldest;
}

void *ur_allocate(size_t size) {
    if (size >= MIN_MAPPED) {
        void *pooled = take_pooled(size);
        if (pooled) return memset(pooled, 0, size);
        void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
        if (size >= MIN_HUGE) madvise(mapped, size, MADV_HUGEPAGE);
#endif
        return mapped;
    }
    size_t whole = (size + CACHE_LINE) & ~(CACHE_LINE - 1);
    void *memory = aligned_alloc(CACHE_LINE, whole);
    return memory ? memset(memory, 0, whole) : NULL;
}

void ur_release(void *memory, size_t size) {
    if (memory && size >= MIN_MAPPED) {
        mapping unneeded = put_pooled((mapping){memory, size});
        if (unneeded.memory) munmap(unneeded.memory, unneeded.size);
    } else {
        free(memory);
    }
}

row_table ur_table_of(size_t width) {
    /* Rows a power of two apart fall into the same set of the L1 cache: up to 10 % at 512 columns and more. */
    return (row_table){.stride = width && width % 256 == 0 ? width + 16 : width};
}

static size_t block_nbytes(const row_table *table, size_t block) {
    size_t rows = block ? ur_block_first(block) : FIRST_BLOCK_ROWS;
    return sizeof(float) * (rows * table->stride + OVERREAD);
}

int ur_table_reserve(row_table *table, size_t row_count) {
    for (size_t block = 0; block < MAX_BLOCKS && ur_block_first(block) < row_count; block++) {
        if (table->blocks[block]) continue;
        table->blocks[block] = ur_allocate(block_nbytes(table, block));
        if (!table->blocks[block]) return -1;
    }
    return row_count <= ur_block_first(MAX_BLOCKS) ? 0 : -1;
}

void ur_table_clear(row_table *table) {
    for (size_t block = 0; block < MAX_BLOCKS; block++) {
        ur_release(table->blocks[block], block_nbytes(table, block));
        table->blocks[block] = NULL;
    }
}
