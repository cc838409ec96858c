/* Allocations, row tables and hash maps: contents, addresses, sizes, and what happens when memory is short.
 *
 * The linker replaces the functions below by those named __wrap_. */
#include <malloc.h>
#include <sys/mman.h>

#include "testing.h"

#define MIB ((size_t)1 << 20)
#define MAX_MAPPINGS 256

static bool is_short; /* of memory */
static size_t heap_nbytes;
static struct {
    char *memory;
    size_t size;
} mappings[MAX_MAPPINGS];

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *memory);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *address, size_t size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void __real_free(void *memory);
void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t size);

static void *count_heap(void *memory) {
    if (memory) heap_nbytes += malloc_usable_size(memory);
    return memory;
}

void *__wrap_malloc(size_t size) { return is_short ? NULL : count_heap(__real_malloc(size)); }
void *__wrap_calloc(size_t count, size_t size) { return is_short ? NULL : count_heap(__real_calloc(count, size)); }
void __wrap_free(void *memory) {
    if (memory) heap_nbytes -= malloc_usable_size(memory);
    __real_free(memory);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    if (is_short) return MAP_FAILED;
    size_t at = 0;
    while (mappings[at].memory) CHECK(++at < MAX_MAPPINGS, "too many mappings");
    mappings[at].memory = __real_mmap(address, size, protection, flags, file, offset);
    mappings[at].size = size;
    return mappings[at].memory;
}

/* Unmaps a mapping, or its begin or end. */
int __wrap_munmap(void *address, size_t size) {
    char *begin = address, *end = begin + size;
    size_t at = 0;
    while (begin < mappings[at].memory || begin >= mappings[at].memory + mappings[at].size) {
        CHECK(++at < MAX_MAPPINGS, "unmapped what was not mapped");
    }
    CHECK(end <= mappings[at].memory + mappings[at].size, "unmapped more than was mapped");
    bool is_begin = begin == mappings[at].memory, is_end = end == mappings[at].memory + mappings[at].size;
    CHECK(is_begin || is_end, "unmapped a part between others");
    mappings[at].size -= size;
    if (is_begin) mappings[at].memory = is_end ? NULL : end;
    return __real_munmap(address, size);
}

/* Returns the bytes of all mappings that are in memory. */
static size_t count_resident(void) {
    const size_t page = 4096;
    static unsigned char pages[1 << 16];
    size_t resident = 0;
    for (size_t at = 0; at < MAX_MAPPINGS; at++) {
        if (!mappings[at].memory) continue;
        size_t count = (mappings[at].size + page - 1) / page;
        CHECK(count <= sizeof pages && !mincore(mappings[at].memory, mappings[at].size, pages), "mincore failed");
        for (size_t number = 0; number < count; number++) resident += page * (pages[number] & 1);
    }
    return resident;
}

static void check_zeroed_and_aligned(void) {
    static const size_t sizes[] = {1, 63, 64, 65, 65535, 65536, 70000, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 5 * MIB + 100};
    for (size_t at = 0; at < 3 * sizeof sizes / sizeof *sizes; at++) {
        size_t size = sizes[at / 3];
        char *memory = ur_allocate(size);
        CHECK((uintptr_t)memory % (size < 2 * MIB ? 64 : 2 * MIB) == 0, "%zu bytes at %p", size, (void *)memory);
        for (size_t byte = 0; byte < size; byte++) CHECK(!memory[byte], "byte %zu of %zu is not zero", byte, size);
        memset(memory, 0xff, size); /* what is reused is zeroed again */
        ur_release(memory, size);
    }
    ur_release(NULL, 5);
    CHECK(ur_held_nbytes(0) == 0, "nothing takes %zu bytes", ur_held_nbytes(0));
}

/* Released mappings are kept up to the limit, and used for the next ones of their size. All together take no more than they
 * did when the limit was set, and the limit. */
static void check_kept(void) {
    size_t resident = count_resident();
    char *memory[4];
    ur_keep_released(3 * MIB + MIB / 2);
    for (size_t at = 0; at < 4; at++) memory[at] = memset(ur_allocate(MIB), 1, MIB);
    for (size_t at = 0; at < 4; at++) ur_release(memory[at], MIB);
    CHECK(count_resident() == resident + 3 * MIB, "%zu bytes are kept", count_resident() - resident);
    char *again = ur_allocate(MIB);
    CHECK(again == memory[3] && !again[0] && !again[5], "the last kept mapping was not used, or not zeroed");
    char *other = memset(ur_allocate(MIB + 1), 1, MIB + 1);
    CHECK(count_resident() <= resident + 3 * MIB + MIB / 2, "%zu bytes are used and kept", count_resident() - resident);
    ur_release(other, MIB + 1);
    ur_release(again, MIB);
    CHECK(count_resident() > resident + 2 * MIB, "the limit did not rise again");
    ur_keep_released(0);
    CHECK(count_resident() == resident, "%zu bytes are kept beyond the limit", count_resident() - resident);
}

/* Rows keep addresses and contents while a table grows; the table counts what is in memory. */
static void check_table(size_t width, size_t row_count) {
    row_table table = ur_table_of(width);
    size_t heap = heap_nbytes, resident = count_resident();
    float *third = NULL;
    for (uint32_t row = 0; row < row_count; row++) {
        CHECK(!ur_table_reserve(&table, row + 1), "no memory for row %u", row);
        for (size_t at = 0; at < width; at++) ur_row(&table, row)[at] = (float)row + (float)at;
        if (row == 3) third = ur_row(&table, 3);
    }
    CHECK(third == ur_row(&table, 3), "a row moved");
    for (uint32_t row = 0; row < row_count; row++) {
        for (size_t at = 0; at < width; at++) {
            CHECK(bits_of(ur_row(&table, row)[at]) == bits_of((float)row + (float)at), "row %u changed", row);
        }
    }
    size_t taken = heap_nbytes - heap + count_resident() - resident, counted = ur_table_nbytes(&table);
    /* Not yet written: at most the larger half of up to 1 MB, or the last huge page if the system has none. */
    CHECK(counted >= taken && counted <= taken + 2 * MIB, "%zu bytes counted, %zu taken", counted, taken);
    is_short = true;
    CHECK(ur_table_reserve(&table, 4 * row_count + 64) == -1, "memory in spite of a failed allocation");
    is_short = false;
    CHECK(third == ur_row(&table, 3), "a row moved when memory was short");
    ur_table_clear(&table);
    CHECK(!ur_table_nbytes(&table), "an empty table takes %zu bytes", ur_table_nbytes(&table));
    CHECK(heap_nbytes == heap, "the heap keeps %zu bytes", heap_nbytes - heap);
}

/* Returns the key with a hash: the inverse of `hash_slot_of`. */
static uint64_t key_of(uint64_t hash, uint64_t seed) {
    hash *= 0xcfee444d8b59a89bu;
    hash = (hash ^ hash >> 32) * 0xf1de83e19937733du;
    return hash ^ seed;
}

static void check_keys(const hash_map *map, const uint64_t *keys, uint32_t count) {
    CHECK(map->count == count, "%zu keys, expected %u", map->count, count);
    for (uint32_t at = 0; at < count; at++) {
        CHECK(hash_find(map, keys[at]) == at + 1, "key %u has the value %u", at, hash_find(map, keys[at]));
        CHECK(!hash_find(map, keys[at] ^ 1u << 31), "found a key that was not added");
    }
}

/* Keys whose hashes begin with the same bits lie behind one another, from the last slot on in the first ones. */
static void check_map(uint64_t *random, unsigned equal_bits, uint32_t count) {
    hash_map map = {.seed = next_random(random)};
    uint64_t *keys = calloc(count, sizeof *keys), begin = equal_bits ? ~(uint64_t)0 << (64 - equal_bits) : 0;
    for (uint32_t at = 0; at < count; at++) {
        keys[at] = key_of(begin | next_random(random) >> equal_bits, map.seed);
        if (2 * map.count >= map.capacity) {
            is_short = true;
            CHECK(!hash_find_or_add(&map, keys[at], at + 1, NULL), "grew without memory");
            is_short = false;
            check_keys(&map, keys, at);
        }
        CHECK(hash_find_or_add(&map, keys[at], at + 1, NULL) == at + 1, "key %u was known", at);
        CHECK(hash_find_or_add(&map, keys[at], at + 2, NULL) == at + 1, "key %u was not found again", at);
    }
    check_keys(&map, keys, count);
    hash_clear(&map);
    CHECK(!hash_find(&map, keys[0]) && !hash_nbytes(&map), "a cleared map is not empty");
    free(keys);
}

/* A growth that is stopped leaves the map as it was. */
static void check_stopped_growth(void) {
    const volatile int32_t stop = 1;
    ur_watch watch = {.stop = &stop};
    hash_map map = {0};
    uint32_t count = 0;
    while (hash_find_or_add(&map, (uint64_t)count << 32, count + 1, &watch)) count++;
    CHECK(watch.has_stopped && count >= 1 << 16, "%u keys before the stop", count);
    for (uint32_t at = 0; at < count; at++) CHECK(hash_find(&map, (uint64_t)at << 32) == at + 1, "lost key %u", at);
    CHECK(hash_find_or_add(&map, (uint64_t)count << 32, count + 1, NULL) == count + 1, "doesn't grow any more");
    hash_clear(&map);
}

/* A network counts what it takes from the system. */
static void check_network(uint64_t *random, size_t max_hidden, size_t max_words) {
    network n = random_network(random, max_hidden);
    text t = random_text(random, &n, max_words, 8);
    ur_words words = words_of(&t);
    ur_reply none = {.output = UR_NONE};
    size_t heap = heap_nbytes, resident = count_resident();
    ur_weights *weights = ur_weights_new(&n.spec, n.parameters);
    ur_states *states = ur_states_new(weights, n.start_count, n.start_h, n.start_c);
    size_t empty = ur_states_nbytes(states);
    CHECK(ur_run(states, WORDS(words), &none, 0, NULL, 0) == UR_OK, "a call failed");
    size_t counted = ur_weights_nbytes(&n.spec) + ur_states_nbytes(states);
    size_t now = count_resident(), taken = heap_nbytes - heap + (now > resident ? now - resident : 0);
    /* The headers of malloc's two largest blocks are left out; kept mappings are not new. */
    CHECK(counted + 256 >= taken, "%zu bytes counted, %zu taken", counted, taken);
    ur_states_clear(states);
    CHECK(ur_states_nbytes(states) == empty, "%zu bytes after clearing, %zu before", ur_states_nbytes(states), empty);
    ur_states_free(states);
    ur_weights_free(weights);
    CHECK(heap_nbytes == heap, "%zu bytes were not freed", heap_nbytes - heap);
    free_text(&t);
    free_network(&n);
}

int main(void) {
    uint64_t random = 0;
    check_zeroed_and_aligned();
    ur_keep_released(0);
    check_kept();
    check_table(1, 3000);
    check_table(100, 10000);
    check_table(512, 3000);
    for (unsigned equal_bits = 0; equal_bits < 48; equal_bits += 5) check_map(&random, equal_bits, 700);
    check_map(&random, 0, 20000);
    check_stopped_growth();
    ur_keep_released(16 * MIB);
    for (size_t at = 0; at < 40; at++) check_network(&random, at % 10 ? 100 : 400, at % 10 ? 200 : 2000);
    puts("memory is counted and freed");
}
