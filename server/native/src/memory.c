#include "memory.h"

#include <string.h>
#include <sys/mman.h>

#include "kernels.h"

/* A smaller mapping would waste a good part of its last page. */
#define MIN_MAPPED ((size_t)64 << 10)
/* The first write to 2 MB takes 0.2 ms in a huge page instead of 1.2 ms, but 5 to 9 ms where a hypervisor took free memory
 * back: only what is filled at once has huge pages, so that a small call never waits for 2 MB. */
#define HUGE_PAGE ((size_t)2 << 20)
#define PAGE ((size_t)4096)
#define CACHE_LINE ((size_t)64)
/* Released mappings that are kept for the next ones of their size: on a virtual machine the first write to new memory takes as
 * long as computing what is written. The memory itself holds the lists. */
#define LISTS 64

typedef struct mapping {
    struct mapping *next;
    size_t size;
} mapping;

static struct {
    int lock;
    int64_t limit; /* of nbytes; may be negative */
    int64_t nbytes;
    size_t next_list; /* to take from when there is too much */
    mapping *lists[LISTS];
} kept = {.limit = 16 << 20};

static size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

/* Whole pages of any system. */
static size_t mapped_nbytes(size_t size) { return round_up(size, (size_t)64 << 10); }

/* Never waits, for a thread that may have no CPU: then a mapping is not kept, or a new one made. */
static bool lock_kept(void) { return !__atomic_exchange_n(&kept.lock, 1, __ATOMIC_ACQUIRE); }

static void unlock_kept(void) { __atomic_store_n(&kept.lock, 0, __ATOMIC_RELEASE); }

static mapping **list_of(size_t size) { return &kept.lists[(size >> 6) * 0x9e3779b97f4a7c15u >> 58]; }

/* Takes a mapping out of its list. */
static mapping *take(mapping **at) {
    mapping *taken = *at;
    *at = taken->next;
    kept.nbytes -= (int64_t)mapped_nbytes(taken->size);
    return taken;
}

/* Raises the limit by what was released, or lowers it by what was allocated: so both together stay the same. */
static void change_limit(int64_t nbytes) { __atomic_add_fetch(&kept.limit, nbytes, __ATOMIC_RELAXED); }

/* Unmaps kept memory beyond the limit, from all lists in turn. */
static void unmap_excess(void) {
    while (kept.nbytes && kept.nbytes > __atomic_load_n(&kept.limit, __ATOMIC_RELAXED)) {
        mapping **list = &kept.lists[kept.next_list++ % LISTS];
        if (!*list) continue;
        mapping *taken = take(list);
        munmap(taken, mapped_nbytes(taken->size));
    }
}

/* Returns a kept mapping of this size, or NULL; unmaps others that no longer fit. */
static void *take_kept(size_t size) {
    change_limit(-(int64_t)mapped_nbytes(size));
    if (!lock_kept()) return NULL;
    mapping **at = list_of(size), *found = NULL;
    while (*at && (*at)->size != size) at = &(*at)->next;
    if (*at) found = take(at);
    unmap_excess();
    unlock_kept();
    return found;
}

/* Keeps a mapping, or unmaps it if the limit does not allow that. */
static void keep(mapping *released, size_t size) {
    int64_t nbytes = (int64_t)mapped_nbytes(size);
    change_limit(nbytes);
    if (nbytes > __atomic_load_n(&kept.limit, __ATOMIC_RELAXED) || !lock_kept()) {
        munmap(released, (size_t)nbytes);
        return;
    }
    mapping **list = list_of(size);
    *released = (mapping){*list, size};
    *list = released;
    kept.nbytes += nbytes;
    unmap_excess();
    unlock_kept();
}

void ur_keep_released(size_t limit) {
    __atomic_store_n(&kept.limit, (int64_t)limit, __ATOMIC_RELAXED);
    if (!lock_kept()) return;
    unmap_excess();
    unlock_kept();
}

void ur_forget_kept_lock(void) {
    if (lock_kept()) {
        unlock_kept();
        return;
    }
    memset(kept.lists, 0, sizeof kept.lists); /* perhaps in the middle of a change */
    kept.nbytes = 0;
    unlock_kept();
}

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

/* Sets `*is_new` if unwritten pages of the memory take nothing from the system. */
static void *allocate(size_t size, bool is_zeroed, bool *is_new) {
    *is_new = false;
    if (size < MIN_MAPPED) return allocate_on_heap(size, is_zeroed);
    void *memory = take_kept(size);
    if (memory) return is_zeroed ? memset(memory, 0, size) : memory;
    *is_new = true;
    return map(size);
}

void *ur_allocate(size_t size) {
    bool is_new;
    char *memory = allocate(size, true, &is_new);
    if (memory) use_huge_pages(memory, memory + size);
    return memory;
}

void *ur_allocate_unset(size_t size) {
    bool is_new;
    return allocate(size, false, &is_new);
}

void ur_release(void *memory, size_t size) {
    if (!memory) return;
    if (size < MIN_MAPPED) {
        free(((void **)memory)[-1]);
        return;
    }
    keep(memory, size);
}

size_t ur_held_nbytes(size_t size) {
    if (size >= MIN_MAPPED) return round_up(size, PAGE);
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
    if (!table->blocks[block]) {
        bool is_new;
        if (!(table->blocks[block] = allocate(block_nbytes(table, block), false, &is_new))) return -1;
        table->new_blocks = (table->new_blocks & ~((uint32_t)1 << block)) | (uint32_t)is_new << block;
    }
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
        written = round_up(written, whole < HUGE_PAGE ? PAGE : HUGE_PAGE);
        nbytes += table->new_blocks >> block & 1 && written < whole ? written : whole;
    }
    return nbytes;
}
