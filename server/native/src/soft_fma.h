/* A float32 fused multiply-add that rounds once, in double arithmetic, for CPUs without an instruction for it. */
#ifndef UNROLLED_SOFT_FMA_H
#define UNROLLED_SOFT_FMA_H

#include <stdint.h>
#include <string.h>

/* The product is exact in double. The sum is rounded to odd: if it is inexact, its last bit is set to 1, so that the
 * conversion to float32 rounds as if from the exact value. `(float)((double)a * b + c)` rounds twice. */
static inline float ur_soft_fma(float a, float b, float c) {
    double product = (double)a * (double)b;
    double addend = (double)c;
    double sum = product + addend;
    double back = sum - product;
    double error = (product - (sum - back)) + (addend - back);
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    /* An infinite or NaN sum has a NaN error, which fails both comparisons. */
    if (!(bits & 1) && (error > 0 || error < 0)) {
        bits += (error > 0) == (sum > 0) ? 1 : -1;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
}

#endif
