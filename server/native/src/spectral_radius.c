/* The largest absolute eigenvalue of a matrix, by a fixed sequence of + - * / and sqrt in double.
 *
 * Arnoldi's method builds an orthonormal basis of the Krylov space of a fixed random vector, and the Hessenberg matrix
 * of the linear map in it. It stops when the largest eigenvalue of that matrix has a small residual. It never restarts:
 * ARPACK, which does, needs five times as many products for a random matrix of 4,096 columns. A small or difficult
 * matrix takes all n steps. Eigenvalues of the Hessenberg matrix come from Francis' double-shift QR algorithm.
 * Sources: Arnoldi (1951); Francis (1961); Golub and Van Loan, "Matrix Computations", sections 7.5 and 10.5. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { MAX_QR_STEPS = 100 };              /* per eigenvalue; two or three are usual */
static const double TOLERANCE = 1e-12;    /* of the residual, relative to the eigenvalue */
static const double NEGLIGIBLE = 0x1p-46; /* of a product's part in a new direction: rounding errors */

typedef struct complex_number {
    double re, im;
} complex_number;

typedef struct arnoldi {
    ur_watch *watch;
    const float *matrix;
    size_t n;
    size_t steps;     /* made so far */
    int is_invariant; /* the basis spans an invariant space: its eigenvalues are exact */
    double *basis;    /* steps + 1 rows of n */
    double *columns;  /* the Hessenberg matrix: column j has j + 2 numbers, see `column` */
} arnoldi;

static bool must_stop(ur_watch *watch, size_t work) {
    watch->has_stopped |= ur_must_stop(watch, work);
    return watch->has_stopped;
}

static double absolute(complex_number z) { return sqrt(z.re * z.re + z.im * z.im); }

/* Returns the inner product by four partial sums. */
static double dot(const double *x, const double *y, size_t n) {
    double sum_0 = 0, sum_1 = 0, sum_2 = 0, sum_3 = 0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        sum_0 += x[i] * y[i];
        sum_1 += x[i + 1] * y[i + 1];
        sum_2 += x[i + 2] * y[i + 2];
        sum_3 += x[i + 3] * y[i + 3];
    }
    for (; i < n; i++) sum_0 += x[i] * y[i];
    return (sum_0 + sum_1) + (sum_2 + sum_3);
}

/* Computes y = x A. Each element adds up the rows in order, which a compiler may vectorise. (A and its transpose have
 * the same eigenvalues.) */
static void multiply(const float *restrict a, const double *restrict x, double *restrict y, size_t n) {
    memset(y, 0, n * sizeof *y);
    size_t row = 0;
    for (; row + 4 <= n; row += 4, a += 4 * n) {
        const float *b = a + n, *c = b + n, *d = c + n;
        double x_0 = x[row], x_1 = x[row + 1], x_2 = x[row + 2], x_3 = x[row + 3];
        for (size_t i = 0; i < n; i++) y[i] = (((y[i] + x_0 * a[i]) + x_1 * b[i]) + x_2 * c[i]) + x_3 * d[i];
    }
    for (; row < n; row++, a += n) {
        for (size_t i = 0; i < n; i++) y[i] += x[row] * a[i];
    }
}

static double *column(const arnoldi *k, size_t j) { return k->columns + j * (j + 3) / 2; }

/* Makes w orthogonal to the first `count` basis vectors, adds the coefficients to h, and returns the norm of w.
 * Repeats as long as that cancels much of w. Returns 0 if nothing but rounding errors is left. */
static double orthogonalize(const arnoldi *k, size_t count, double *w, double *h) {
    double norm = sqrt(dot(w, w, k->n)), least = norm * NEGLIGIBLE, before;
    do {
        before = norm;
        for (size_t i = 0; i < count; i++) {
            const double *v = k->basis + i * k->n;
            double factor = dot(v, w, k->n);
            for (size_t c = 0; c < k->n; c++) w[c] -= factor * v[c];
            h[i] += factor;
        }
        norm = sqrt(dot(w, w, k->n));
        if (!(norm > least)) return 0;
    } while (norm < before / 2);
    return norm;
}

/* Extends basis and Hessenberg matrix to `steps` steps, or until the basis is invariant. Returns 0 without memory or if
 * it must stop. */
static int extend(arnoldi *k, size_t steps) {
    double *basis = realloc(k->basis, (steps + 1) * k->n * sizeof *basis);
    k->basis = basis ? basis : k->basis;
    double *columns = realloc(k->columns, steps * (steps + 3) / 2 * sizeof *columns);
    k->columns = columns ? columns : k->columns;
    if (!basis || !columns) return 0;
    while (k->steps < steps && !k->is_invariant) {
        if (must_stop(k->watch, k->n * k->n)) return 0;
        size_t j = k->steps++;
        double *v = k->basis + j * k->n, *w = v + k->n, *h = column(k, j);
        memset(h, 0, (j + 2) * sizeof *h);
        multiply(k->matrix, v, w, k->n);
        h[j + 1] = orthogonalize(k, j + 1, w, h);
        k->is_invariant = h[j + 1] == 0;
        for (size_t i = 0; i < k->n && !k->is_invariant; i++) w[i] /= h[j + 1];
    }
    return 1;
}

static void keep_larger(complex_number *largest, double re, double im) {
    complex_number z = {re, im};
    if (absolute(z) > absolute(*largest)) *largest = z;
}

static void keep_larger_of_block(complex_number *largest, double a, double b, double c, double d) {
    double half = (a - d) / 2, discriminant = half * half + b * c;
    if (discriminant < 0) {
        keep_larger(largest, d + half, sqrt(-discriminant));
        return;
    }
    double root = half + (half < 0 ? -sqrt(discriminant) : sqrt(discriminant));
    keep_larger(largest, d + root, 0);
    keep_larger(largest, root == 0 ? d : d - b * c / root, 0);
}

/* Applies a Householder reflection that maps x to a multiple of the first axis, from both sides, to the rows and
 * columns from `row` on (three, or two at the end) of the block from `low` to `high`. Returns the multiple. */
static double reflect(double *h, size_t m, size_t low, size_t high, size_t row, double x[3]) {
    double norm = sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
    if (norm == 0) return 0;
    norm = x[0] < 0 ? -norm : norm;
    double first = x[0] + norm, tau = first / norm, y = x[1] / first, z = x[2] / first;
    int has_third = row + 2 <= high;
    double *a = h + row * m, *b = a + m, *c = has_third ? b + m : b;
    for (size_t i = row; i <= high; i++) {
        double third = has_third ? c[i] : 0, sum = ((a[i] + y * b[i]) + z * third) * tau;
        a[i] -= sum;
        b[i] -= sum * y;
        c[i] -= sum * z;
    }
    size_t last = row + 3 < high ? row + 3 : high;
    for (size_t i = low; i <= last; i++) {
        double *e = h + i * m + row, third = has_third ? e[2] : 0, sum = ((e[0] + y * e[1]) + z * third) * tau;
        e[0] -= sum;
        e[1] -= sum * y;
        if (has_third) e[2] -= sum * z;
    }
    return -norm;
}

/* Makes one implicit double step on the unreduced block from `low` to `high`, with the eigenvalues of its last two rows
 * as shifts. */
static void francis_step(double *h, size_t m, size_t low, size_t high, int is_exceptional) {
    double *a = h + low * m + low, *b = h + (high - 1) * m + high - 1;
    double shift_0 = b[0], shift_1 = b[m + 1], product = b[1] * b[m];
    if (is_exceptional) { /* breaks cycles; the numbers are those of EISPACK's hqr */
        double size = fabs(b[m]) + fabs(b[-1]);
        shift_0 = shift_1 = shift_1 + 0.75 * size;
        product = -0.4375 * size * size;
    }
    double x[3] = {((a[0] - shift_0) * (a[0] - shift_1) - product) / a[m] + a[1],
                   (a[0] - shift_0) + (a[m + 1] - shift_1), a[2 * m + 1]};
    for (size_t row = low; row < high; row++) {
        double multiple = reflect(h, m, low, high, row, x);
        if (row > low) h[row * m + row - 1] = multiple;
        for (size_t i = 0; i < 3; i++) { /* the next column below its diagonal, which the next reflection clears */
            size_t below = row + 1 + i;
            x[i] = below <= high ? h[below * m + row] : 0;
            if (i > 0 && below <= high) h[below * m + row] = 0;
        }
    }
}

/* Finds the largest eigenvalue of a Hessenberg matrix of m rows, which it overwrites. Returns 0 if QR cycles or must
 * stop. */
static int largest_of_hessenberg(double *h, size_t m, complex_number *largest, ur_watch *watch) {
    double norm = sqrt(dot(h, h, m * m));
    int steps = 0;
    *largest = (complex_number){0, 0};
    for (size_t end = m; end > 0;) {
        size_t low = end - 1;
        for (; low > 0; low--) {
            double *d = h + low * m + low, scale = fabs(d[0]) + fabs(d[-(ptrdiff_t)m - 1]);
            if (!(fabs(d[-1]) > DBL_EPSILON * (scale > 0 ? scale : norm))) break;
        }
        if (end - low > 2) {
            if (++steps > MAX_QR_STEPS || must_stop(watch, 10 * m * (end - low))) return 0;
            francis_step(h, m, low, end - 1, steps % 10 == 0);
            continue;
        }
        double *d = h + low * m + low;
        if (end - low == 2) {
            keep_larger_of_block(largest, d[0], d[1], d[m], d[m + 1]);
        } else {
            keep_larger(largest, d[0], 0);
        }
        end = low;
        steps = 0;
    }
    return 1;
}

/* Returns the norm of the residual of an eigenvalue of the Hessenberg matrix as one of the whole matrix. The
 * eigenvector follows from its last element, 1, by solving the rows from the last one up; `y` has room for it. */
static double residual(const arnoldi *k, complex_number value, complex_number *y) {
    size_t m = k->steps;
    double square = 1;
    y[m - 1] = (complex_number){1, 0};
    for (size_t i = m - 1; i > 0; i--) {
        double re = value.re * y[i].re - value.im * y[i].im, im = value.re * y[i].im + value.im * y[i].re;
        for (size_t j = i; j < m; j++) {
            double factor = column(k, j)[i];
            re -= factor * y[j].re;
            im -= factor * y[j].im;
        }
        double below = column(k, i - 1)[i];
        y[i - 1] = (complex_number){re / below, im / below};
        square += y[i - 1].re * y[i - 1].re + y[i - 1].im * y[i - 1].im;
    }
    return column(k, m - 1)[m] / sqrt(square);
}

/* Returns the largest absolute eigenvalue if it is accurate, -1 if more steps are needed, NAN without memory or if it
 * must stop. */
static double judge(const arnoldi *k) {
    size_t m = k->steps;
    double *h = calloc(m * m, sizeof *h), result = NAN;
    complex_number *y = calloc(m, sizeof *y), largest;
    if (h && y) {
        for (size_t j = 0; j < m; j++) {
            for (size_t i = 0; i < m && i < j + 2; i++) h[i * m + j] = column(k, j)[i];
        }
        if (largest_of_hessenberg(h, m, &largest, k->watch)) {
            int is_accurate = k->is_invariant || m == k->n;
            /* An overflow within the residual gives NaN: the eigenvector ends in zeros. */
            is_accurate = is_accurate || !(residual(k, largest, y) > TOLERANCE * absolute(largest));
            result = is_accurate ? absolute(largest) : -1;
        }
    }
    free(h);
    free(y);
    return result;
}

/* Counts the nonzero elements of a row beside the diagonal, up to `most`. */
static size_t count_others(const float *matrix, size_t n, size_t row, size_t most) {
    size_t count = 0;
    for (size_t j = 0; j < n && count < most; j++) count += j != row && matrix[row * n + j] != 0;
    return count;
}

/* Orders the rows so that each has nonzero elements only in columns of rows before it, as far as possible (Kahn 1962);
 * returns how many. `counts` has room for n numbers, `order` for n rows. */
static size_t order_rows(const float *matrix, size_t n, size_t *counts, size_t *order, ur_watch *watch) {
    size_t ordered = 0;
    for (size_t i = 0; i < n; i++) {
        if (!count_others(matrix, n, i, 1)) order[ordered++] = i;
    }
    if (!ordered) return 0; /* as most matrices */
    for (size_t i = 0; i < n; i++) counts[i] = count_others(matrix, n, i, n);
    for (size_t at = 0; at < ordered && !must_stop(watch, 8 * n); at++) {
        size_t j = order[at];
        for (size_t i = 0; i < n; i++) {
            if (i != j && matrix[i * n + j] != 0 && --counts[i] == 0) order[ordered++] = i;
        }
    }
    return ordered;
}

/* Returns the largest absolute element of the diagonal if another order of rows and columns makes the matrix triangular,
 * else -1; NAN without memory or if it must stop. Arnoldi's method would find rounding errors where all eigenvalues are 0. */
static double largest_of_triangular(const float *matrix, size_t n, ur_watch *watch) {
    size_t *counts = malloc(2 * n * sizeof *counts);
    if (!counts) return NAN;
    size_t ordered = order_rows(matrix, n, counts, counts + n, watch);
    free(counts);
    if (watch->has_stopped) return NAN;
    if (ordered < n) return -1;
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fabs(matrix[i * n + i]) > largest ? fabs(matrix[i * n + i]) : largest;
    }
    return largest;
}

static void start(arnoldi *k) {
    ur_generator generator;
    ur_generator_seed(&generator, 0);
    for (size_t i = 0; i < k->n; i++) {
        float x;
        ur_draw_uniform(&generator, &x, 1, -1, 1);
        k->basis[i] = x;
    }
    double norm = sqrt(dot(k->basis, k->basis, k->n));
    for (size_t i = 0; i < k->n; i++) k->basis[i] /= norm;
}

/* Not inlined, so that no operation moves to where the caller's rounding mode holds. */
__attribute__((noinline)) static double radius_of(const float *matrix, size_t n, ur_watch *watch) {
    double radius = largest_of_triangular(matrix, n, watch);
    if (!(radius < 0)) return radius;
    arnoldi k = {.watch = watch, .matrix = matrix, .n = n, .basis = malloc(n * sizeof *k.basis)};
    size_t steps = 1;
    while (steps * steps < 64 * n && steps < n) { /* 8 sqrt(n): too few for most random matrices */
        steps++;
    }
    if (k.basis) start(&k);
    do {
        radius = k.basis && extend(&k, steps) ? judge(&k) : NAN;
        steps = steps + steps / 8 < n ? steps + steps / 8 : n;
    } while (radius < 0);
    free(k.basis);
    free(k.columns);
    return radius;
}

double ur_spectral_radius(const float *matrix, size_t n) {
    ur_watch watch = {0};
    ur_float_mode saved = ur_enter_float_mode();
    double radius = radius_of(matrix, n, &watch);
    ur_leave_float_mode(saved);
    return radius;
}

__attribute__((noinline)) static int scale(float *matrix, size_t n, double radius, ur_watch *watch) {
    double found = radius_of(matrix, n, watch);
    if (isnan(found)) return watch->has_stopped ? UR_STOPPED : UR_NO_MEMORY;
    float factor = found > 0 ? (float)(radius / found) : 1;
    for (size_t i = 0; i < n * n; i++) matrix[i] *= factor;
    return UR_OK;
}

int ur_scale_to_radius(float *matrix, size_t n, double radius, const volatile int32_t *stop, int64_t deadline_ns) {
    ur_watch watch = {.stop = stop, .deadline_ns = deadline_ns};
    ur_float_mode saved = ur_enter_float_mode();
    int status = scale(matrix, n, radius, &watch);
    ur_leave_float_mode(saved);
    return status;
}
