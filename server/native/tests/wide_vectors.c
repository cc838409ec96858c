/* The AVX-512 kernels' logic (vectors of 16 floats, panels of 64 columns) on CPUs without AVX-512: kernels.c is compiled
 * for AVX-512 with its one instruction replaced by a loop, and must give the bits of the scalar reference. */
#include "soft_fma.h"
#include "testing.h"

const ur_kernels *__wrap_ur_selected_kernels(void);

#if defined(__x86_64__)
#include <immintrin.h>

/* How vectors of this size are passed depends on the CPU, of which the compiler warns. No function passes one. */
#pragma GCC diagnostic ignored "-Wpsabi"
#define inline inline __attribute__((always_inline))

typedef float wide __attribute__((vector_size(64)));

static inline wide wide_fma(wide a, wide b, wide c) {
    for (int lane = 0; lane < 16; lane++) c[lane] = soft_fma(a[lane], b[lane], c[lane]);
    return c;
}

#define UR_ISA_AVX512
#define __m512 wide
#define _mm512_fmadd_ps wide_fma
#define ur_kernels_avx512 emulated
#include "../src/kernels.c"

const ur_kernels *__wrap_ur_selected_kernels(void) { return &emulated; }

int main(int argc, char **argv) {
    size_t cases = argc > 1 ? strtoul(argv[1], NULL, 10) : 300;
    for (size_t at = 0; at < cases; at++) {
        uint64_t random = at + ((uint64_t)3 << 32);
        network n = random_network(&random, at % 4 ? 80 : 200);
        if (at % 2) add_leak(&n, &random);
        text t = random_text(&random, &n, at % 16 ? 20 : 150, at % 16 ? 10 : 4);
        compute_expected(&t, &n);
        ur_weights *weights = ur_weights_new(&n.spec, n.parameters);
        ur_states *states = ur_states_new(weights, n.start_count, n.start_h, n.start_c);
        for (int call = 0; call < 3; call++) {
            text part = random_part(&random, &t, t.count);
            run_and_check(&random, &n, states, &part, (int32_t)random_below(&random, 6));
            free_part(&part);
        }
        run_and_check(&random, &n, states, &t, UR_ALL);
        ur_states_free(states);
        ur_weights_free(weights);
        free_text(&t);
        free_network(&n);
    }
    printf("%zu networks with %zu lanes and panels of %zu\n", cases, emulated.lanes, emulated.panel);
}
#else
const ur_kernels *__wrap_ur_selected_kernels(void) { return ur_find_kernels(NULL); }

int main(void) { puts("skipped: needs the headers of x86"); }
#endif
