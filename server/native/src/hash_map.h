/* A map from 64-bit keys to nonzero 32-bit values, with open addressing. */
#ifndef UNROLLED_HASH_MAP_H
#define UNROLLED_HASH_MAP_H

#include "kernels.h"
#include "memory.h"

#define FIRST_SLOTS 32
#define MOVED_SLOTS 256 /* at once */
#define SLOT_WORK 32 /* multiplications that take as long as moving one slot */

typedef struct hash_slot {
    uint64_t key;
    uint32_t value; /* 0: empty */
} hash_slot;

typedef struct hash_map {
    hash_slot *slots;
    size_t capacity; /* 0 or a power of two; at most half of it is used */
    size_t count;
    uint64_t seed;
} hash_map;

static inline size_t hash_nbytes(const hash_map *map) { return sizeof(hash_slot) * map->capacity; }

static inline void hash_clear(hash_map *map) {
    ur_release(map->slots, hash_nbytes(map));
    *map = (hash_map){.seed = map->seed};
}

/* Returns the key's slot, or the empty slot where it belongs. The map must not be full. Keys lie in the order of their
 * hashes, but for those that others displaced: so a map grows in one pass over old and new slots. */
static inline hash_slot *hash_slot_of(const hash_map *map, uint64_t key) {
    uint64_t hash = (key ^ map->seed) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    size_t mask = map->capacity - 1, at = hash >> __builtin_clzll(mask);
    while (map->slots[at].value && map->slots[at].key != key) at = (at + 1) & mask;
    return &map->slots[at];
}

/* Returns the key's value, or 0. */
static inline uint32_t hash_find(const hash_map *map, uint64_t key) {
    return map->capacity ? hash_slot_of(map, key)->value : 0;
}

/* Moves up to MOVED_SLOTS slots. Those in use are picked first, without a branch that the CPU can't predict. */
static inline void hash_move(const hash_slot *slots, size_t count, hash_map *to) {
    hash_slot used[MOVED_SLOTS];
    size_t used_count = 0;
    for (size_t at = 0; at < count; at++) {
        used[used_count] = slots[at];
        used_count += slots[at].value != 0;
    }
    for (size_t at = 0; at < used_count; at++) *hash_slot_of(to, used[at].key) = used[at];
}

/* Doubles the capacity. Returns -1 and leaves the map as it is if memory is short or `watch`, unless NULL, stops it.
 * Not inlined, because the loops that find symbols need the registers. */
__attribute__((noinline, unused)) static int hash_grow(hash_map *map, ur_watch *watch) {
    hash_map grown = *map;
    grown.capacity = map->capacity ? 2 * map->capacity : FIRST_SLOTS;
    grown.slots = ur_allocate(hash_nbytes(&grown));
    if (!grown.slots) return -1;
    for (size_t at = 0; at < map->capacity; at += MOVED_SLOTS) {
        if (watch && at && ur_must_stop(watch, SLOT_WORK * MOVED_SLOTS)) {
            watch->has_stopped = true;
            hash_clear(&grown);
            return -1;
        }
        hash_move(map->slots + at, map->capacity - at < MOVED_SLOTS ? map->capacity - at : MOVED_SLOTS, &grown);
    }
    ur_release(map->slots, hash_nbytes(map));
    *map = grown;
    return 0;
}

/* Returns the key's value, which is `new_value` if the key was missing; 0 if the map could not grow. */
static inline uint32_t hash_find_or_add(hash_map *map, uint64_t key, uint32_t new_value, ur_watch *watch) {
    if (2 * map->count >= map->capacity && hash_grow(map, watch)) return 0;
    hash_slot *slot = hash_slot_of(map, key);
    if (!slot->value) {
        *slot = (hash_slot){key, new_value};
        map->count++;
    }
    return slot->value;
}

#endif
