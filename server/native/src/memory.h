/* Memory that returns to the system when it is freed, and tables of rows that grow without copying. */
#ifndef UNROLLED_MEMORY_H
#define UNROLLED_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

/* Returns zeroed memory at a cache line, or NULL. Larger memory is mapped: malloc's heap keeps the holes of what is held
 * long and freed in any order. */
void *ur_allocate(size_t size);
/* The same, but not zeroed. */
void *ur_allocate_unset(size_t size);
void ur_release(void *memory, size_t size);
/* For a forked child: if another thread of the parent used the mappings that are kept, forgets them and the lock. */
void ur_forget_kept_lock(void);
/* Returns what an allocation takes from the system. */
size_t ur_held_nbytes(size_t size);

/* Rows of `stride` floats. Block 0 holds the first 32 rows, and each further block as many as all before it, so that rows
 * never move. Unwritten pages of a new block cost nothing. */
#define FIRST_BLOCK_ROWS 32
#define MAX_BLOCKS 28

typedef struct row_table {
    size_t stride, row_count; /* row_count: the most that were reserved */
    uint32_t new_blocks;      /* a bit for each block whose memory was not written before */
    float *blocks[MAX_BLOCKS];
} row_table;

row_table ur_table_of(size_t width);
/* Makes room for rows 0 to row_count - 1; returns -1 if memory is short. */
int ur_table_reserve(row_table *table, size_t row_count);
void ur_table_clear(row_table *table);
/* Returns what a table takes from the system if all reserved rows were written. */
size_t ur_table_nbytes(const row_table *table);

static inline size_t ur_block_of(uint32_t row) {
    uint32_t rest = row / FIRST_BLOCK_ROWS;
    return rest ? 32 - (size_t)__builtin_clz(rest) : 0;
}

static inline size_t ur_block_first(size_t block) { return block ? (size_t)FIRST_BLOCK_ROWS << (block - 1) : 0; }

static inline float *ur_row(const row_table *table, uint32_t row) {
    size_t block = ur_block_of(row);
    return table->blocks[block] + (row - ur_block_first(block)) * table->stride;
}

#endif
