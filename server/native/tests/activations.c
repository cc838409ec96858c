/* tanh and sigmoid of every float32 against double, and the rule for stored states.
 *
 * Without an argument a sample of runs of consecutive floats; with --long every float for the fastest instruction set, and
 * the others compared with it. */
#include <pthread.h>

#include "testing.h"

#define CHUNK 4096
#define INFINITE 0x7f800000u
#define TANH_END 0x41200000u    /* 10 */
#define SIGMOID_END 0x42ae0000u /* 87 */
#define TINY_END 0x2f800000u    /* 2^-32: below, only a sample is compared between instruction sets */
#define THREADS 2
#define SKIPPED 509 /* of so many chunks a sample has one */

static const ur_kernels *kernels;
static bool is_long;

typedef struct findings {
    size_t thread;
    uint64_t tested;
    double tanh_ulp, sigmoid_error;
    float tanh_at, sigmoid_at;
} findings;

/* Returns the distance of a float from an exact value in (0, 1], in units of the last place of the exact value. */
static double ulps(float got, double exact) {
    int exponent;
    frexp(exact, &exponent);
    double unit = ldexp(1, exponent > -125 ? exponent - 24 : -149);
    return fabs((double)got - exact) / unit;
}

static double exact_tanh(double x) {
    double square = x * x;
    return x < 0x1p-8 ? x - x * square * (1.0 / 3 - square * (2.0 / 15)) : tanh(x);
}

/* sigmoid(-x). */
static double exact_tail(double x) {
    return x < 0x1p-8 ? 0.5 - x * (1.0 / 4 - x * x * (1.0 / 48)) : 1 / (1 + exp(x));
}

/* Checks one chunk of floats from `bits` on; `below` holds the results just before, and gets the last ones. */
static void check_chunk(findings *f, uint32_t bits, float below[3]) {
    static _Thread_local float x[CHUNK], t[CHUNK], minus_t[CHUNK], s[CHUNK], minus_s[CHUNK];
    for (uint32_t at = 0; at < CHUNK; at++) {
        t[at] = s[at] = x[at] = from_bits(bits + at);
        minus_t[at] = minus_s[at] = -x[at];
    }
    kernels->tanh(t, CHUNK);
    kernels->tanh(minus_t, CHUNK);
    kernels->sigmoid(s, CHUNK);
    kernels->sigmoid(minus_s, CHUNK);
    for (uint32_t at = 0; at < CHUNK && bits + at <= INFINITE; at++) {
        CHECK(bits_of(minus_t[at]) == (bits_of(t[at]) ^ 0x80000000), "tanh(%a) isn't odd", (double)x[at]);
        CHECK(t[at] >= below[0] && s[at] >= below[1] && minus_s[at] <= below[2], "not monotone at %a", (double)x[at]);
        CHECK(t[at] <= 1 && s[at] <= 1 && minus_s[at] >= 0, "out of range at %a", (double)x[at]);
        below[0] = t[at], below[1] = s[at], below[2] = minus_s[at];
        if (bits + at >= TANH_END) {
            CHECK(t[at] == 1, "tanh(%a) is %a", (double)x[at], (double)t[at]);
        } else {
            double error = x[at] == 0 ? fabs((double)t[at]) * 0x1p149 : ulps(t[at], exact_tanh((double)x[at]));
            if (error > f->tanh_ulp) f->tanh_ulp = error, f->tanh_at = x[at];
        }
        if (bits + at >= SIGMOID_END) CHECK(s[at] == 1, "sigmoid(%a) is %a", (double)x[at], (double)s[at]);
        double tail = exact_tail((double)x[at]);
        double error = fmax(fabs((double)minus_s[at] - tail), fabs((double)s[at] - (1 - tail)));
        if (error > f->sigmoid_error) f->sigmoid_error = error, f->sigmoid_at = x[at];
        f->tested++;
    }
}

/* The others give the same bits, for tanh of positive and sigmoid of negative numbers, from which the rest follows. */
static void check_others(uint32_t bits) {
    static _Thread_local float same[2][CHUNK], other[2][CHUNK];
    const char *name;
    for (size_t isa = 1; (name = ur_isa_at(isa)); isa++) {
        for (uint32_t at = 0; at < CHUNK; at++) {
            same[0][at] = other[0][at] = from_bits(bits + at);
            same[1][at] = other[1][at] = from_bits(bits + at + 0x80000000);
        }
        kernels->tanh(same[0], CHUNK);
        kernels->sigmoid(same[1], CHUNK);
        ur_find_kernels(name)->tanh(other[0], CHUNK);
        ur_find_kernels(name)->sigmoid(other[1], CHUNK);
        CHECK(!memcmp(same, other, sizeof same), "%s and %s differ near %a", kernels->name, name, (double)from_bits(bits));
    }
}

static void *check_share(void *given) {
    findings *f = given;
    uint32_t chunks = INFINITE / CHUNK + 1, share = (chunks + THREADS - 1) / THREADS;
    uint32_t first = (uint32_t)f->thread * share, end = first + share < chunks ? first + share : chunks;
    float below[3] = {0, 0, 1};
    for (uint32_t chunk = first; chunk < end; chunk++) {
        bool is_sampled = chunk % SKIPPED == first % SKIPPED || chunk == chunks - 1;
        bool is_saturated = chunk * CHUNK > SIGMOID_END;
        if (!is_sampled && (!is_long || is_saturated)) continue;
        check_chunk(f, chunk * CHUNK, below);
        if (is_sampled || chunk * CHUNK >= TINY_END) check_others(chunk * CHUNK);
    }
    return NULL;
}

static void check_special(void) {
    const char *name;
    for (size_t isa = 0; (name = ur_isa_at(isa)); isa++) {
        const ur_kernels *k = ur_find_kernels(name);
        float x[] = {NAN, -NAN, from_bits(0x7f800001), INFINITY, -INFINITY, 0, -0.0f, from_bits(1), from_bits(0x807fffff)};
        enum { COUNT = sizeof x / sizeof *x };
        float t[COUNT], s[COUNT];
        memcpy(t, x, sizeof x);
        memcpy(s, x, sizeof x);
        k->tanh(t, COUNT);
        k->sigmoid(s, COUNT);
        for (int at = 0; at < 3; at++) CHECK(isnan(t[at]) && isnan(s[at]), "%s turns NaN into a number", name);
        CHECK(t[3] == 1 && t[4] == -1 && s[3] == 1 && s[4] > 0 && s[4] < 1e-37f, "%s: infinities", name);
        for (int at = 5; at < 9; at++) {
            CHECK(bits_of(t[at]) == bits_of(x[at]), "%s: tanh(%a) is %a", name, (double)x[at], (double)t[at]);
            CHECK(s[at] == 0.5f, "%s: sigmoid(%a) is %a", name, (double)x[at], (double)s[at]);
        }
    }
}

static void check_canonicalize(void) {
    static const uint32_t pairs[][2] = {
        {0x7fc00000, 0x7fc00000}, {0xffc00000, 0x7fc00000}, {0x7f800001, 0x7fc00000}, {0xffffffff, 0x7fc00000},
        {0x7f800000, 0x7f800000}, {0xff800000, 0xff800000}, {0x7f7fffff, 0x7f7fffff}, {0, 0},
        {0x80000000, 0},          {1, 0},                   {0x807fffff, 0},          {0x00800000, 0},
        {0x177fffff, 0},          {0x977fffff, 0},          {0x17800000, 0x17800000}, {0x97800000, 0x97800000},
        {0x3f800000, 0x3f800000}, {0xbf800001, 0xbf800001},
    };
    enum { COUNT = sizeof pairs / sizeof *pairs };
    const char *name;
    for (size_t isa = 0; (name = ur_isa_at(isa)); isa++) {
        float values[COUNT];
        for (int at = 0; at < COUNT; at++) values[at] = from_bits(pairs[at][0]);
        ur_find_kernels(name)->canonicalize(values, COUNT);
        for (int at = 0; at < COUNT; at++) {
            CHECK(bits_of(values[at]) == pairs[at][1], "%s: %08x became %08x", name, pairs[at][0], bits_of(values[at]));
        }
    }
}

int main(int argc, char **argv) {
    is_long = argc > 1 && !strcmp(argv[1], "--long");
    kernels = ur_find_kernels(NULL);
    check_special();
    check_canonicalize();
    pthread_t threads[THREADS];
    findings all = {0}, found[THREADS] = {0};
    for (size_t at = 0; at < THREADS; at++) {
        found[at].thread = at;
        CHECK(!pthread_create(&threads[at], NULL, check_share, &found[at]), "no thread");
    }
    for (size_t at = 0; at < THREADS; at++) {
        pthread_join(threads[at], NULL);
        all.tested += found[at].tested;
        if (found[at].tanh_ulp > all.tanh_ulp) all.tanh_ulp = found[at].tanh_ulp, all.tanh_at = found[at].tanh_at;
        if (found[at].sigmoid_error > all.sigmoid_error) {
            all.sigmoid_error = found[at].sigmoid_error, all.sigmoid_at = found[at].sigmoid_at;
        }
    }
    printf("%s, %llu floats and their negatives: tanh off by up to %.3f ulp (%a), sigmoid by up to %.3g (%a)\n",
           kernels->name, (unsigned long long)all.tested, all.tanh_ulp, (double)all.tanh_at, all.sigmoid_error,
           (double)all.sigmoid_at);
    CHECK(all.tanh_ulp <= 1.5, "tanh is off by %.3f ulp", all.tanh_ulp);
    CHECK(all.sigmoid_error <= 1e-7, "sigmoid is off by %.3g", all.sigmoid_error);
}
