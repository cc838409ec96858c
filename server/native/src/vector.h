/* Vectors of float32 and the few operations that differ between instruction sets.
 *
 * All other arithmetic uses the compiler's vector extensions, which round each operation once. `vec_fma` is the only
 * fused operation: contraction is off (-ffp-contract=off).
 */
#ifndef UNROLLED_VECTOR_H
#define UNROLLED_VECTOR_H

#include <stdint.h>
#include <string.h>

/* ISA_NAME: value of UNROLLED_ISA. LANES: floats of a vector. PANEL_VECTORS: vectors of a panel of packed weights; 6 rows
 * of a panel are accumulated in registers at once. ONE_ROW_PANELS, TWO_ROW_PANELS: panels accumulated at once for one or
 * two rows, because fewer than 8 accumulators wait for the latency of fma. */
#if defined(UR_ISA_AVX512)
#include <immintrin.h>
#define ISA_NAME "avx512"
#define ISA_SYMBOL ur_kernels_avx512
#define LANES 16
#define PANEL_VECTORS 4
#define ONE_ROW_PANELS 1
#define TWO_ROW_PANELS 1
#elif defined(UR_ISA_AVX2)
#include <immintrin.h>
#define ISA_NAME "avx2"
#define ISA_SYMBOL ur_kernels_avx2
#define LANES 8
#define PANEL_VECTORS 2
#define ONE_ROW_PANELS 4
#define TWO_ROW_PANELS 2
#elif defined(UR_ISA_NEON)
#include <arm_neon.h>
#define ISA_NAME "neon"
#define ISA_SYMBOL ur_kernels_neon
#define LANES 4
#define PANEL_VECTORS 4
#define ONE_ROW_PANELS 2
#define TWO_ROW_PANELS 1
#elif defined(UR_ISA_PORTABLE)
#include "soft_fma.h"
#define ISA_NAME "portable"
#define ISA_SYMBOL ur_kernels_portable
#define LANES 4
#define PANEL_VECTORS 4
#define ONE_ROW_PANELS 1
#define TWO_ROW_PANELS 1
#else
#error "compile kernels.c with -DUR_ISA_AVX512, -DUR_ISA_AVX2, -DUR_ISA_NEON or -DUR_ISA_PORTABLE"
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t vec_bits __attribute__((vector_size(4 * LANES)));
typedef uint32_t vec_unsigned __attribute__((vector_size(4 * LANES)));
typedef float vec_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vec vec_splat(float value) { return value - (vec){0}; /* keeps -0 */ }

static inline vec vec_load(const float *from) { return *(const vec_unaligned *)from; }

static inline void vec_store(float *to, vec value) { *(vec_unaligned *)to = value; }

/* Loads or stores the first `count` lanes. */
static inline vec vec_load_part(const float *from, size_t count) {
    if (count >= LANES) return vec_load(from);
    vec value = {0};
    memcpy(&value, from, 4 * count);
    return value;
}

static inline void vec_store_part(float *to, vec value, size_t count) {
    if (count >= LANES) {
        vec_store(to, value);
    } else {
        memcpy(to, &value, 4 * count);
    }
}

/* Returns a where the mask is -1, b where it is 0. */
static inline vec vec_select(vec_bits mask, vec a, vec b) {
    return (vec)(((vec_bits)a & mask) | ((vec_bits)b & ~mask));
}

static inline vec vec_fma(vec a, vec b, vec c) {
#if defined(UR_ISA_AVX512)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(UR_ISA_AVX2)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(UR_ISA_NEON)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    for (int lane = 0; lane < LANES; lane++) c[lane] = soft_fma(a[lane], b[lane], c[lane]);
    return c;
#endif
}

#endif
