/* Instruction sets, the floating-point environment and the stop condition. */
#include <string.h>
#include <time.h>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
extern const ur_kernels ur_kernels_avx512, ur_kernels_avx2;
#elif defined(__aarch64__)
extern const ur_kernels ur_kernels_neon;
#endif
extern const ur_kernels ur_kernels_portable;

static const ur_kernels *selected;

#if defined(__x86_64__)
static bool has_all(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

/* Returns whether the CPU has AVX2 and FMA, or with them AVX-512, and the system saves their registers (XCR0).
 * __builtin_cpu_supports would need the compiler's run-time library, which ziglang's builds don't link. */
static bool has_avx(bool with_avx512) {
    const uint32_t avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    uint32_t eax, ebx, ecx, edx, saved, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_all(ecx, bit_OSXSAVE | bit_FMA)) return false;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (!has_all(saved, with_avx512 ? 0xe6 : 0x06)) return false;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && has_all(ebx, bit_AVX2 | (with_avx512 ? avx512 : 0));
}
#endif

static const ur_kernels *kernels_at(size_t index) {
    const ur_kernels *found[3];
    size_t count = 0;
#if defined(__x86_64__)
    if (has_avx(true)) found[count++] = &ur_kernels_avx512;
    if (has_avx(false)) found[count++] = &ur_kernels_avx2;
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

const ur_kernels *ur_selected_kernels(void) {
    const ur_kernels *kernels = __atomic_load_n(&selected, __ATOMIC_RELAXED);
    /* Found once: in a virtual machine the instruction that asks the CPU takes microseconds. */
    if (!kernels) __atomic_store_n(&selected, kernels = ur_find_kernels(NULL), __ATOMIC_RELAXED);
    return kernels;
}

int ur_abi_version(void) { return UR_ABI_VERSION; }

const char *ur_isa_at(size_t index) {
    const ur_kernels *kernels = kernels_at(index);
    return kernels ? kernels->name : NULL;
}

int ur_select_isa(const char *name) {
    const ur_kernels *kernels = ur_find_kernels(name);
    if (!kernels) return -1;
    __atomic_store_n(&selected, kernels, __ATOMIC_RELAXED);
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

int64_t ur_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool ur_must_stop(ur_watch *watch, uint64_t work) {
    /* Less than 1 ms of AVX2, and about 10 ms of the portable kernels. */
    const uint64_t work_between_checks = 1 << 22;
    watch->work += work;
    if (watch->work < work_between_checks) return false;
    watch->work = 0;
    if (watch->stop && __atomic_load_n(watch->stop, __ATOMIC_RELAXED)) return true;
    return watch->deadline_ns && ur_clock_ns() > watch->deadline_ns;
}
