/* Tests of the software fma, the random draws and the spectral radius: exits with 1 and names what is wrong.
 *
 * Golden digests hold for every compiler, optimisation level and CPU. */
#include <fenv.h>
#include <math.h>
#include <stdio.h>

#include "soft_fma.h"
#include "unrolled_core.h"

enum { RANDOM_CASES = 3000000 };

static int failures = 0;

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t next_random(uint64_t *state) { /* xorshift64* (Vigna 2016) */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* libm's fmaf rounds once, in hardware or not. */
static void check_fma(float a, float b, float c) {
    float expected = fmaf(a, b, c), found = soft_fma(a, b, c);
    if (isnan(expected) ? !isnan(found) : memcmp(&expected, &found, sizeof found) != 0) {
        printf("soft_fma(%a, %a, %a) is %a, expected %a\n", (double)a, (double)b, (double)c, (double)found,
               (double)expected);
        failures++;
    }
}

static void check_directed_fma(void) {
    static const float edges[] = {0,         1,
                                  0x1p-149f, 0x1.fffffcp-127f, 0x1p-126f,
                                  0x1p-75f,  0x1p-24f,         0x1.fffffep-1f,
                                  0x1p24f,   0x1.000002p0f,    0x1p127f,
                                  INFINITY,  0x1.fffffep127f,  NAN};
    enum { EDGES = sizeof edges / sizeof *edges };
    check_fma(1 - 0x1p-20f, 0x1p-24f * (1 + 0x1p-20f), 1 + 0x1p-23f); /* rounds twice in a plain double sum */
    for (int i = 0; i < EDGES * EDGES * EDGES * 8; i++) {
        int signs = i % 8, a = i / 8 % EDGES, b = i / 8 / EDGES % EDGES, c = i / 8 / EDGES / EDGES;
        check_fma(signs & 1 ? -edges[a] : edges[a], signs & 2 ? -edges[b] : edges[b], signs & 4 ? -edges[c] : edges[c]);
    }
}

static void check_random_fma(void) {
    uint64_t state = 1;
    for (int i = 0; i < RANDOM_CASES && failures < 10; i++) {
        uint64_t draw = next_random(&state);
        float a = float_of((uint32_t)draw), b = float_of((uint32_t)(draw >> 32));
        check_fma(a, b, float_of((uint32_t)next_random(&state)));
        /* Hard cases: few bits in each factor, and an addend around the product, so that ties are frequent. */
        a = ldexpf((float)(draw & 0xfff) + 1, -12), b = ldexpf((float)(draw >> 20 & 0xfff) + 0x1p-12f, -12);
        float c = ldexpf((float)(int32_t)(draw >> 40 & 0xffffff) + 1, -(int)(draw >> 36 & 15) - 20);
        check_fma(a, b, c);
        check_fma(a, b, -c);
        check_fma(a, b, -(a * b));
        check_fma(ldexpf(a, -60), ldexpf(b, -70), ldexpf(c, -126));
    }
}

/* Extends an FNV-1a digest. */
static uint64_t digest_of(uint64_t digest, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        digest = (digest ^ bytes[i]) * 0x100000001b3u;
    }
    return digest;
}

static void check_digest(const char *name, uint64_t found, uint64_t expected) {
    if (found != expected) {
        printf("digest of %s is %016llx, expected %016llx\n", name, (unsigned long long)found,
               (unsigned long long)expected);
        failures++;
    }
}

static void check_draws(void) {
    static float values[1003];
    uint64_t of_uniform = 0xcbf29ce484222325u, of_normal = of_uniform, of_masked = of_uniform;
    for (uint32_t i = 0; i < 200; i++) {
        ur_generator generator;
        size_t count = i < 100 ? i + 1 : 1003 - i;
        ur_generator_seed(&generator, i * 40503u * 65539u);
        float bound = float_of(0x3d000000u + 40503u * i);
        ur_draw_uniform(&generator, values, count, i % 2 ? -bound : -0.1f, bound);
        of_uniform = digest_of(of_uniform, values, count * sizeof *values);
        ur_draw_normal(&generator, values, count);
        of_normal = digest_of(of_normal, values, count * sizeof *values);
        ur_draw_mask(&generator, values, count, i * 83887u);
        ur_scale(values, count, i % 2 ? bound : 0x1.8p-127f);
        of_masked = digest_of(of_masked, values, count * sizeof *values);
    }
    check_digest("uniform draws", of_uniform, 0x1fe3e18d79a8ca79u);
    check_digest("normal draws", of_normal, 0xac08cd996d346595u);
    check_digest("masked and scaled draws", of_masked, 0x952cce40b22869e4u);
}

static void check_spectral_radii(void) {
    static const size_t sizes[] = {1, 2, 3, 16, 63, 64, 65, 129, 256};
    static float matrix[256 * 256];
    uint64_t digest = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ur_generator generator;
        ur_generator_seed(&generator, (uint32_t)i);
        ur_draw_uniform(&generator, matrix, sizes[i] * sizes[i], -1, 1);
        double radius = ur_spectral_radius(matrix, sizes[i]);
        digest = digest_of(digest, &radius, sizeof radius);
    }
    check_digest("spectral radii", digest, 0xd084bd81c0b466a9u);
}

int main(void) {
    check_directed_fma();
    check_random_fma();
    check_draws();
    check_spectral_radii();
    fesetround(FE_UPWARD); /* a caller's mode, which must not matter */
    check_draws();
    check_spectral_radii();
    return failures != 0;
}
