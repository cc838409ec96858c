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

void *ur_allocate(size_t size) {
    if (size >= MIN_MAPPED) {
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
        munmap(memory, size);
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
