#include "memory.h"

#include <string.h>
#include <sys/mman.h>

#include "kernels.h"

/* A smaller mapping would waste a good part of its last page. */
#define MIN_MAPPED ((size_t)64 << 10)
/* The first write to 2 MB takes 0.2 ms in a huge page instead of 1.2 ms, but 5 to 9 ms where a hypervisor took free memory
 * back: only what is filled at once has huge pages, so that a small call never waits for 2 MB. */
#define HUGE_PAGE ((size_t)2 << 20)
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

static size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

/* Whole pages of any system. */
static size_t mapped_nbytes(size_t size) { return round_up(size, (size_t)64 << 10); }

/* Asks for huge pages from one address to another, as far as they are whole. */
static void use_huge_pages(const void *from, const void *to) {
#ifdef MADV_HUGEPAGE
    uintptr_t first = round_up((uintptr_t)from, HUGE_PAGE), end = (uintptr_t)to / HUGE_PAGE * HUGE_PAGE;
    if (first < end) madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)from, (void)to;
#endif
}

/* Returns new zeroed memory, or NULL. Huge pages begin with it, which not all kernels care for. */
static void *map(size_t size) {
    size_t spare = size < HUGE_PAGE ? 0 : HUGE_PAGE, used = mapped_nbytes(size);
    char *mapped = mmap(NULL, used + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return NULL;
    if (!spare) return mapped;
    size_t before = round_up((uintptr_t)mapped, HUGE_PAGE) - (uintptr_t)mapped;
    if (before) munmap(mapped, before);
    if (before < spare) munmap(mapped + before + used, spare - before);
    return mapped + before;
}

/* Not aligned_alloc: before glibc 2.38 it doesn't find the freed memory of its own calls, and a tenth of the heap is
 * lost. */
static void *allocate_on_heap(size_t size, bool is_zeroed) {
    void *memory = is_zeroed ? calloc(1, size + CACHE_LINE) : malloc(size + CACHE_LINE);
    if (!memory) return NULL;
    void **line = (void **)(((uintptr_t)memory + CACHE_LINE) & ~(uintptr_t)(CACHE_LINE - 1));
    line[-1] = memory; /* malloc aligns to 16 bytes: there is room */
    return line;
}

static void *allocate(size_t size, bool is_zeroed) {
    if (size < MIN_MAPPED) return allocate_on_heap(size, is_zeroed);
    void *pooled = take_pooled(size);
    if (!pooled) return map(size);
    return is_zeroed ? memset(pooled, 0, size) : pooled;
}

void *ur_allocate(size_t size) {
    char *memory = allocate(size, true);
    if (memory) use_huge_pages(memory, memory + size);
    return memory;
}

void ur_release(void *memory, size_t size) {
    if (!memory) return;
    if (size < MIN_MAPPED) {
        free(((void **)memory)[-1]);
        return;
    }
    mapping unneeded = put_pooled((mapping){memory, size});
    if (unneeded.memory) munmap(unneeded.memory, mapped_nbytes(unneeded.size));
}

size_t ur_held_nbytes(size_t size) {
    const size_t page = 4096;
    if (size >= MIN_MAPPED) return round_up(size, page);
    return size ? size + CACHE_LINE + 2 * sizeof(size_t) : 0;
}

row_table ur_table_of(size_t width) {
    /* Rows a power of two apart fall into the same set of the L1 cache: up to 10 % at 512 columns and more. */
    return (row_table){.stride = width && width % 256 == 0 ? width + 16 : width};
}

static size_t block_nbytes(const row_table *table, size_t block) {
    size_t rows = block ? ur_block_first(block) : FIRST_BLOCK_ROWS;
    return sizeof(float) * (rows * table->stride + OVERREAD);
}

/* Reserves rows from the first or `from` to `end` in one block. */
static int reserve_in_block(row_table *table, size_t block, size_t from, size_t end) {
    size_t first = ur_block_first(block), block_end = ur_block_first(block + 1);
    if (!table->blocks[block] && !(table->blocks[block] = allocate(block_nbytes(table, block), false))) return -1;
    float *rows = table->blocks[block];
    if (from < first) from = first;
    if (end > block_end) end = block_end;
    use_huge_pages(rows + (from - first) * table->stride, rows + (end - first) * table->stride);
    return 0;
}

int ur_table_reserve(row_table *table, size_t row_count) {
    if (row_count <= table->row_count) return 0;
    for (size_t block = 0; block < MAX_BLOCKS && ur_block_first(block) < row_count; block++) {
        if (ur_block_first(block + 1) <= table->row_count) continue;
        if (reserve_in_block(table, block, table->row_count, row_count)) return -1;
    }
    table->row_count = row_count;
    return row_count <= ur_block_first(MAX_BLOCKS) ? 0 : -1;
}

void ur_table_clear(row_table *table) {
    for (size_t block = 0; block < MAX_BLOCKS; block++) {
        ur_release(table->blocks[block], block_nbytes(table, block));
        table->blocks[block] = NULL;
    }
    table->row_count = 0;
}

size_t ur_table_nbytes(const row_table *table) {
    size_t nbytes = 0;
    for (size_t block = 0; block < MAX_BLOCKS && table->blocks[block]; block++) {
        size_t whole = ur_held_nbytes(block_nbytes(table, block)), first = ur_block_first(block);
        size_t written = table->row_count > first ? sizeof(float) * (table->row_count - first) * table->stride : 0;
        /* Memory from malloc or the pool may have been written before. */
        bool is_whole = whole <= MAX_POOLED || round_up(written, HUGE_PAGE) > whole;
        nbytes += is_whole ? whole : round_up(written, HUGE_PAGE);
    }
    return nbytes;
}
