/* tanh, sigmoid and the rule for stored states, as fixed sequences of IEEE operations.
 *
 * Polynomials: Cephes tanhf and expf (S. Moshier). Every float32 is tested in tests/activations.c: tanh is off by at
 * most 1.5 ulp, monotone, odd and exactly 1 when saturated; sigmoid is off by at most 1e-7. NaN stays NaN.
 */
#ifndef UNROLLED_ACTIVATIONS_H
#define UNROLLED_ACTIVATIONS_H

#include "vector.h"

#define SIGN_BIT ((vec_bits){0} + INT32_MIN)
#define NAN_BITS ((vec_bits){0} + 0x7fc00000)
#define TINY 0x1p-80f /* smaller states are stored as zero; denormals would be 150 times slower */

static inline vec vec_abs(vec x) { return (vec)((vec_bits)x & ~SIGN_BIT); }

/* Returns min(limit, x), and NaN for NaN. */
static inline vec clamp(vec x, float limit) { return vec_select(x > limit, vec_splat(limit), x); }

/* Returns e^x + 1 for x from 0 to 87. With n = x / ln 2 rounded to an integer and r the remainder, it is
 * 2^n * (e^r - 1) + (2^n + 1). */
static inline vec exp_plus_one(vec x) {
    const vec shifter = vec_splat(0x1.8p23f); /* adding it leaves n in the low bits */
    vec shifted = vec_fma(x, vec_splat(1.44269504088896341f), shifter);
    vec n = shifted - shifter;
    vec r = vec_fma(n, vec_splat(-0.693359375f), x);
    r = vec_fma(n, vec_splat(2.12194440e-4f), r);
    vec p = vec_splat(1.9875691500e-4f);
    p = vec_fma(p, r, vec_splat(1.3981999507e-3f));
    p = vec_fma(p, r, vec_splat(8.3334519073e-3f));
    p = vec_fma(p, r, vec_splat(4.1665795894e-2f));
    p = vec_fma(p, r, vec_splat(1.6666665459e-1f));
    p = vec_fma(p, r, vec_splat(5.0000001201e-1f));
    vec exp_minus_one = vec_fma(p, r * r, r);
    vec scale = (vec)(((vec_unsigned)shifted << 23) + 0x3f800000u);
    return vec_fma(scale, exp_minus_one, scale + 1.0f);
}

/* Below 0.625 an odd polynomial, else 1 - 2 / (e^2x + 1). */
static inline vec vec_tanh(vec x) {
    vec size = clamp(vec_abs(x), 10.0f);
    vec square = size * size;
    vec p = vec_splat(-5.70498872745e-3f);
    p = vec_fma(p, square, vec_splat(2.06390887954e-2f));
    p = vec_fma(p, square, vec_splat(-5.37397155531e-2f));
    p = vec_fma(p, square, vec_splat(1.33314422036e-1f));
    p = vec_fma(p, square, vec_splat(-3.33332819422e-1f));
    vec small = vec_fma(p * square, size, size);
    vec large = 1.0f - 2.0f / exp_plus_one(size + size);
    vec result = vec_select(size < 0.625f, small, large);
    return (vec)((vec_bits)result | ((vec_bits)x & SIGN_BIT));
}

/* 1 / (e^|x| + 1) for negative x, else 1 minus that. */
static inline vec vec_sigmoid(vec x) {
    vec tail = 1.0f / exp_plus_one(clamp(vec_abs(x), 87.0f));
    return vec_select(x < 0.0f, tail, 1.0f - tail);
}

/* Returns max(0, x), and NaN for NaN. */
static inline vec vec_relu(vec x) { return vec_select(x < 0.0f, (vec){0}, x); }

/* The rule for stored states: one NaN, and +0 for magnitudes below 2^-80. */
static inline vec canonical(vec x) {
    vec_bits is_number = x == x;
    vec_bits is_tiny = vec_abs(x) < TINY;
    return (vec)(((vec_bits)x & is_number & ~is_tiny) | (NAN_BITS & ~is_number));
}

#endif
