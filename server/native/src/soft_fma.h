/* A fused multiply-add in float32 for every CPU: the same bits as the fma instruction. */
#ifndef SOFT_FMA_H
#define SOFT_FMA_H

#include <stdint.h>
#include <string.h>

/* Returns a * b + c rounded once, in the default rounding mode.
 *
 * The product of two floats is exact in double. The sum is rounded to odd (an inexact sum gets an odd last bit), after
 * which rounding to float32 cannot go wrong: double has more than two bits more than float32. Without that step
 * a = 1 - 2^-20, b = 2^-24 (1 + 2^-20), c = 1 + 2^-23 round twice. A compiler may contract product and sum: as the
 * product is exact, the result stays. */
static inline float soft_fma(float a, float b, float c) {
    double product = (double)a * b, addend = c;
    double sum = product + addend;
    double rest = sum - product;
    double error = (product - (sum - rest)) + (addend - rest); /* exact (Knuth's two-sum); NaN after an infinity */
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    int64_t is_inexact = (error < 0) | (error > 0);
    /* Magnitudes are ordered as their bits: the exact sum lies above `sum` in magnitude if the signs agree. */
    int64_t step = (error > 0) == (sum > 0) ? 1 : -1;
    bits += step * (is_inexact & ~bits & 1);
    memcpy(&sum, &bits, sizeof sum);
    return (float)sum;
}

#endif
