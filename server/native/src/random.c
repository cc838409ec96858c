/* Random numbers as torch 2.13 draws them on a CPU with AVX2, the same on every CPU.
 *
 * Every operation is written out: `soft_fma` where torch's compiler contracted a product and a sum, and no function of
 * libm but sqrt, which IEEE 754 defines. Sources: torch's CPUGeneratorImpl, DistributionTemplates.h, avx_mathfun.h;
 * Matsumoto and Nishimura (1998), "Mersenne twister"; Box and Muller (1958); Moshier's Cephes library. */
#include <math.h>

#include "kernels.h"
#include "soft_fma.h"

enum { WORDS = 624, SHIFT = 397, LANES = 8, BLOCK = 2 * LANES };

void ur_generator_seed(ur_generator *generator, uint32_t seed) {
    uint32_t *words = generator->words;
    words[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) words[i] = 1812433253u * (words[i - 1] ^ (words[i - 1] >> 30)) + i;
    generator->next = WORDS;
}

static uint32_t twist(uint32_t upper, uint32_t lower, uint32_t shifted) {
    uint32_t mixed = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return shifted ^ (mixed >> 1) ^ (0x9908b0dfu & (0u - (lower & 1)));
}

static void renew(ur_generator *generator) {
    uint32_t *words = generator->words;
    for (int i = 0; i < WORDS - SHIFT; i++) words[i] = twist(words[i], words[i + 1], words[i + SHIFT]);
    for (int i = WORDS - SHIFT; i < WORDS - 1; i++) words[i] = twist(words[i], words[i + 1], words[i + SHIFT - WORDS]);
    words[WORDS - 1] = twist(words[WORDS - 1], words[0], words[SHIFT - 1]);
    generator->next = 0;
}

static uint32_t draw_32_bits(ur_generator *generator) {
    if (generator->next == WORDS) renew(generator);
    uint32_t word = generator->words[generator->next++];
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    return word ^ (word >> 18);
}

static uint32_t draw_24_bits(ur_generator *generator) { return draw_32_bits(generator) & 0xffffffu; }

/* Returns a multiple of 2^-24 in [0, 1). */
static float draw_float(ur_generator *generator) { return (float)draw_24_bits(generator) * 0x1p-24f; }

/* Returns a multiple of 2^-53 in [0, 1). */
static double draw_double(ur_generator *generator) {
    uint64_t high = draw_32_bits(generator);
    return (double)((high << 32 | draw_32_bits(generator)) & 0x1fffffffffffffu) * 0x1p-53;
}

/* Not inlined, so that no operation moves to where the caller's rounding mode holds. */
__attribute__((noinline)) static void draw_uniform(ur_generator *generator, float *out, size_t count, float low,
                                                   float high) {
    float range = high - low;
    for (size_t i = 0; i < count; i++) {
        float value = soft_fma(draw_float(generator), range, low);
        out[i] = value == high ? low : value; /* the range excludes its upper end even if rounding reaches it */
    }
}

/* Not inlined, so that no operation moves to where the caller's rounding mode holds. */
__attribute__((noinline)) static void draw_parameters(ur_generator *generator, float *out, size_t count, size_t hidden) {
    float bound = (float)(1 / sqrt((double)hidden));
    draw_uniform(generator, out, count, -bound, bound);
}

void ur_draw_parameters(ur_generator *generator, float *out, size_t count, size_t hidden) {
    ur_float_mode saved = ur_enter_float_mode();
    draw_parameters(generator, out, count, hidden);
    ur_leave_float_mode(saved);
}

void ur_draw_uniform(ur_generator *generator, float *out, size_t count, float low, float high) {
    ur_float_mode saved = ur_enter_float_mode();
    draw_uniform(generator, out, count, low, high);
    ur_leave_float_mode(saved);
}

void ur_draw_mask(ur_generator *generator, float *values, size_t count, uint32_t limit) {
    for (size_t i = 0; i < count; i++) {
        if (draw_24_bits(generator) >= limit) values[i] = 0;
    }
}

/* Not inlined, so that no operation moves to where the caller's rounding mode holds. */
__attribute__((noinline)) static void scale(float *values, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) values[i] *= factor;
}

void ur_scale(float *values, size_t count, float factor) {
    ur_float_mode saved = ur_enter_float_mode();
    scale(values, count, factor);
    ur_leave_float_mode(saved);
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Computes y = y * x + addend in all lanes: independent sums, which a CPU overlaps. */
static void fma_lanes(float *y, const float *x, float addend) {
    for (int i = 0; i < LANES; i++) y[i] = soft_fma(y[i], x[i], addend);
}

/* Replaces numbers in (0, 1] by their natural logarithms, as torch's AVX2 code computes them (Cephes logf). */
static void log_lanes(float *x) {
    static const float coefficients[] = {-1.1514610310E-1f, 1.1676998740E-1f, -1.2420140846E-1f, 1.4249322787E-1f,
                                         -1.6668057665E-1f, 2.0000714765E-1f, -2.4999993993E-1f, 3.3333331174E-1f};
    float exponent[LANES], m[LANES], y[LANES];
    for (int i = 0; i < LANES; i++) { /* x = (1 + m) * 2^exponent */
        exponent[i] = (float)((int32_t)(bits_of(x[i]) >> 23) - 126);
        float fraction = from_bits((bits_of(x[i]) & 0x007fffffu) | 0x3f000000u);
        int is_small = fraction < 0.707106781186547524f;
        exponent[i] -= (float)is_small;
        m[i] = (fraction - 1) + (is_small ? fraction : 0);
        y[i] = 7.0376836292E-2f;
    }
    for (int i = 0; i < 8; i++) fma_lanes(y, m, coefficients[i]);
    for (int i = 0; i < LANES; i++) {
        float square = m[i] * m[i];
        float sum = soft_fma(y[i] * m[i], square, exponent[i] * -2.12194440e-4f);
        x[i] = soft_fma(exponent[i], 0.693359375f, m[i] + soft_fma(square, -0.5f, sum));
    }
}

/* Replaces x >= 0 by the sine and computes the cosine, as torch's AVX2 code does (Cephes sinf and cosf). */
static void sincos_lanes(float *x, float *cosine) {
    int32_t octant[LANES];
    float z[LANES], s[LANES], c[LANES];
    for (int i = 0; i < LANES; i++) {
        octant[i] = ((int32_t)(x[i] * 1.27323954473516f) + 1) & ~1;
        float y = (float)octant[i];
        x[i] = soft_fma(y, -0.78515625f, x[i]);
        x[i] = soft_fma(y, -2.4187564849853515625e-4f, x[i]);
        x[i] = soft_fma(y, -3.77489497744594108e-8f, x[i]);
        z[i] = x[i] * x[i];
        c[i] = 2.443315711809948E-5f;
        s[i] = -1.9515295891E-4f;
    }
    fma_lanes(c, z, -1.388731625493765E-3f);
    fma_lanes(s, z, 8.3321608736E-3f);
    fma_lanes(c, z, 4.166664568298827E-2f);
    fma_lanes(s, z, -1.6666654611E-1f);
    for (int i = 0; i < LANES; i++) {
        float of_c = soft_fma(c[i] * z[i], z[i], z[i] * -0.5f) + 1;
        float of_s = soft_fma(s[i] * z[i], x[i], x[i]);
        int swaps = octant[i] & 2;
        x[i] = (octant[i] & 4 ? -1.0f : 1.0f) * (swaps ? of_c : of_s);
        cosine[i] = ((octant[i] - 2) & 4 ? 1.0f : -1.0f) * (swaps ? of_s : of_c);
    }
}

/* Turns 16 uniform numbers into normal ones: 8 for radii, then 8 for angles. */
static void transform_block(float *block) {
    float *radius = block, *angle = block + LANES, cosine[LANES];
    for (int i = 0; i < LANES; i++) {
        radius[i] = 1.0f - radius[i];
        angle[i] *= 6.283185307179586f;
    }
    log_lanes(radius);
    sincos_lanes(angle, cosine);
    for (int i = 0; i < LANES; i++) {
        float length = sqrtf(-2.0f * radius[i]), sine = angle[i];
        block[i] = length * cosine[i] + 0.0f; /* torch adds the mean, which turns -0 into 0 */
        block[i + LANES] = length * sine + 0.0f;
    }
}

/* Returns the natural logarithm of x in [2^-53, 1] within 2 units in the last place. */
static double log_f64(double x) {
    int exponent = 0;
    while (x < 0.70710678118654752) {
        x *= 2;
        exponent--;
    }
    /* log(x) = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...) */
    double s = (x - 1) / (x + 1), square = s * s, sum = 0;
    for (int i = 27; i >= 3; i -= 2) sum = (sum + 1.0 / i) * square;
    return exponent * 0.693147180369123816490 + (exponent * 1.90821492927058770002e-10 + (2 * s * sum + 2 * s));
}

/* Computes sine and cosine of x in [0, 2 pi) within 2 units in the last place. */
static void sincos_f64(double x, double *sine, double *cosine) {
    int quadrant = (int)(x * 0.63661977236758134 + 0.5);
    /* pi / 2 in three parts; products with a quadrant and the first difference are exact. */
    x -= quadrant * 1.57079632673412561417;
    x -= quadrant * 6.07710050630396597660e-11;
    x -= quadrant * 2.02226624879595063154e-21;
    double square = x * x, s = 0, c = 0;
    for (int i = 19; i >= 3; i -= 2) {
        s = -(s + 1) * square / (i * (i - 1));
        c = -(c + 1) * square / ((i - 1) * (i - 2));
    }
    s = x + x * s;
    c = 1 + c;
    int swaps = quadrant & 1;
    *sine = (quadrant & 2 ? -1 : 1) * (swaps ? c : s);
    *cosine = ((quadrant + 1) & 2 ? -1 : 1) * (swaps ? s : c);
}

/* Draws few numbers as torch does: in pairs, in double. Torch calls libm, whose results are within a unit in the last
 * place; one in about 10^8 floats would show the difference. */
static void draw_few_normal(ur_generator *generator, float *out, size_t count) {
    for (size_t i = 0; i < count; i += 2) {
        double sine, cosine;
        sincos_f64(6.283185307179586 * draw_double(generator), &sine, &cosine);
        double radius = sqrt(-2 * log_f64(1 - draw_double(generator)));
        out[i] = (float)(radius * cosine);
        if (i + 1 < count) out[i + 1] = (float)(radius * sine);
    }
}

static void draw_many_normal(ur_generator *generator, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = draw_float(generator);
    for (size_t i = 0; i + BLOCK <= count; i += BLOCK) transform_block(out + i);
    if (count % BLOCK) { /* torch draws the last 16 numbers again */
        draw_many_normal(generator, out + count - BLOCK, BLOCK);
    }
}

void ur_draw_normal(ur_generator *generator, float *out, size_t count) {
    ur_float_mode saved = ur_enter_float_mode();
    (count < BLOCK ? draw_few_normal : draw_many_normal)(generator, out, count);
    ur_leave_float_mode(saved);
}

/* Returns the low half of SplitMix64's output for a 64-bit state (Steele, Lea, Flood, 2014). */
static uint32_t mix(uint64_t state) {
    uint64_t z = state + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z ^ (z >> 31));
}

void ur_draw_word(uint32_t seed, int32_t symbol, float *out, size_t size) {
    ur_generator generator;
    ur_generator_seed(&generator, mix((uint64_t)seed << 32 | (uint32_t)symbol));
    ur_draw_normal(&generator, out, size);
}
