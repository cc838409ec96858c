/* Instruction sets, the floating-point environment and the stop condition. */
#include <string.h>
#include <time.h>

#include "kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
extern const ur_kernels ur_kernels_avx512, ur_kernels_avx2;
#elif defined(__aarch64__)
extern const ur_kernels ur_kernels_neon;
#endif
extern const ur_kernels ur_kernels_portable;

static const ur_kernels *selected;

static const ur_kernels *kernels_at(size_t index) {
    const ur_kernels *found[3];
    size_t count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init(); /* also asks whether the system saves these registers */
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        found[count++] = &ur_kernels_avx512;
    }
    if (has_avx2) found[count++] = &ur_kernels_avx2;
#elif defined(__aarch64__)
    found[count++] = &ur_kernels_neon;
#endif
    found[count++] = &ur_kernels_portable;
    return index < count ? found[index] : NULL;
}

const ur_kernels *ur_find_kernels(const char *name) {
    for (size_t index = 0;; index++) {
        const ur_kernels *kernels = kernels_at(index);
        if (!kernels || !name || !strcmp(kernels->name, name)) return kernels;
    }
}

const ur_kernels *ur_selected_kernels(void) { return selected ? selected : ur_find_kernels(NULL); }

int ur_abi_version(void) { return UR_ABI_VERSION; }

const char *ur_isa_at(size_t index) {
    const ur_kernels *kernels = kernels_at(index);
    return kernels ? kernels->name : NULL;
}

int ur_select_isa(const char *name) {
    const ur_kernels *kernels = ur_find_kernels(name);
    if (!kernels) return -1;
    selected = kernels;
    return 0;
}

const char *ur_isa(void) { return ur_selected_kernels()->name; }

ur_float_mode ur_enter_float_mode(void) {
#if defined(__x86_64__)
    ur_float_mode saved = _mm_getcsr();
    _mm_setcsr(0x1f80); /* all exceptions masked */
#else
    ur_float_mode saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
#endif
    return saved;
}

void ur_leave_float_mode(ur_float_mode saved) {
#if defined(__x86_64__)
    _mm_setcsr((unsigned)saved);
#else
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
#endif
}

bool ur_must_stop(ur_watch *watch, uint64_t work) {
    /* 1 ms of AVX2, and about 20 ms of the portable kernels. */
    const uint64_t work_between_checks = 1 << 23;
    watch->work += work;
    if (watch->work < work_between_checks) return false;
    watch->work = 0;
    if (watch->stop && __atomic_load_n(watch->stop, __ATOMIC_RELAXED)) return true;
    if (!watch->deadline_ns) return false;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec > watch->deadline_ns;
}
