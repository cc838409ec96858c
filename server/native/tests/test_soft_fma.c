/* soft_fma against fmaf of the C library, which rounds once. */
#include "soft_fma.h"

#include "testing.h"

static void check(float a, float b, float c) {
    float got = soft_fma(a, b, c), expected = fmaf(a, b, c);
    bool is_same = isnan(expected) ? isnan(got) : bits_of(got) == bits_of(expected);
    CHECK(is_same, "fma(%a, %a, %a) is %a, expected %a", (double)a, (double)b, (double)c, (double)got, (double)expected);
}

/* All signs of a case. */
static void check_signs(float a, float b, float c) {
    for (int signs = 0; signs < 8; signs++) check(signs & 1 ? -a : a, signs & 2 ? -b : b, signs & 4 ? -c : c);
}

static void check_directed(void) {
    static const float cases[][3] = {
        {1 - 0x1p-20f, 0x1p-24f * (1 + 0x1p-20f), 1 + 0x1p-23f}, /* rounds twice without rounding to odd */
        {1, 0x1p-24f, 1}, {1, 0x1p-24f, 1 + 0x1p-23f}, {1 + 0x1p-23f, 0x1p-24f, 1}, {1, 0x1p-25f, 1}, /* halfway */
        {1 - 0x1p-24f, 0x1p-24f, 1}, {1 + 0x1p-23f, 1 - 0x1p-24f, 0x1p-60f},
        {1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f}, {1 + 0x1p-23f, 1 + 0x1p-23f, -1 - 0x1p-22f}, /* cancellation */
        {0x1p-75f, 0x1p-75f, 0}, {0x1p-75f, 0x1p-75f, 0x1p-149f}, {0x1p-100f, 0x1p-49f, 0}, /* denormal results */
        {0x1p-100f, 0x1.8p-50f, 0}, {0x1.fffffep-64f, 0x1p-63f, 0x1p-149f}, {0x1p-126f, 1 - 0x1p-24f, 0},
        {0x1p-126f, 0x1p-24f, 0x1p-126f}, {0x1p-149f, 0x1p-149f, 0x1p-149f}, {0x1p-149f, 0x1p-149f, 1},
        {FLT_MAX, 1, 0x1p103f}, {FLT_MAX, 1, 0x1.fffffep102f}, {FLT_MAX, FLT_MAX, -FLT_MAX}, {0x1p64f, 0x1p64f, 0}, /* overflow */
        {FLT_MAX, 2, -FLT_MAX}, {0, 0, 0}, {0, 1, 0}, {1, 1, 1}, {0, INFINITY, 1}, {INFINITY, 1, INFINITY},
        {INFINITY, 2, 3}, {1, 2, INFINITY}, {NAN, 1, 1}, {1, NAN, 1}, {1, 1, NAN}, {0, INFINITY, NAN},
    };
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) check_signs(cases[at][0], cases[at][1], cases[at][2]);
}

/* Draws a float with few bits set, so that sums often are near the middle of two floats. */
static float draw(uint64_t *random, int exponent) {
    uint32_t fraction = (uint32_t)next_random(random);
    switch (random_below(random, 4)) {
    case 0: fraction &= (uint32_t)next_random(random) & (uint32_t)next_random(random); break;
    case 1: fraction |= (uint32_t)next_random(random) | (uint32_t)next_random(random); break;
    case 2: fraction = 1u << random_below(random, 23); break;
    }
    exponent = exponent < 0 ? 0 : exponent > 255 ? 255 : exponent;
    return from_bits((uint32_t)(next_random(random) >> 63 << 31) | (uint32_t)exponent << 23 | (fraction & 0x7fffff));
}

int main(int argc, char **argv) {
    size_t cases = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000000;
    check_directed();
    uint64_t random = 1;
    for (size_t at = 0; at < cases; at++) {
        int a = (int)random_below(&random, 256), b = (int)random_below(&random, 256);
        /* Addends mostly near the product, where bits meet. */
        int near = a + b - 127 + (int)random_below(&random, 61) - 30;
        check(draw(&random, a), draw(&random, b), draw(&random, at % 4 ? near : (int)random_below(&random, 256)));
        if (at % 8 == 0) check(random_float(&random, 1), random_float(&random, 1), random_float(&random, 1));
    }
    printf("%zu random cases\n", cases);
}
