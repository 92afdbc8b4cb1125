/* Prints straight-line code for the orthonormal DCT-II of length 8 .. 256 and its inverse, on vectors of samples.
 *
 *     DCT-II(N):  u_n = x_n + x_{N-1-n}, w_n = x_n - x_{N-1-n};  X_2k = DCT-II(N/2)(u)_k,  X_2k+1 =
 * DCT-IV(N/2)(w)_k DCT-IV(M):  t_n = x_n cos a_n + x_{M-1-n} sin a_n,  r_n = (-1)^n (x_n sin a_n - x_{M-1-n} cos
 * a_n), a_n = (2n + 1) pi / 4M;  A = DCT-II(M/2)(t), S = DCT-II(M/2)(r); X_0 = A_0, X_{M-1} = S_0, X_2k = A_k -
 * S_{M/2-k}, X_2k-1 = A_k + S_{M/2-k}
 *
 * The scale sqrt(2/N) rides in the rotations. Every step is a node a*x + b*y of a linear graph. The inverse of an
 * orthonormal transform is its transpose, and the transpose of a linear graph is the graph walked backwards: what
 * reaches a node is the sum over its uses.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PI 3.14159265358979323846
#define MAX_LENGTH 256
#define MAX_NODES 8192

/* value = factor[0] * operand[0] + factor[1] * operand[1]; an operand of -1 is absent. */
typedef struct node {
    int operand[2];
    double factor[2];
} node;

static node nodes[MAX_NODES]; /* the first `length` of them are the inputs */
static int node_count;

static void fail(const char *reason) {
    fprintf(stderr, "gen_dct: %s\n", reason);
    exit(EXIT_FAILURE);
}

/* Adds the node factor_a * a + factor_b * b. */
static int combine(int a, double factor_a, int b, double factor_b) {
    if (node_count == MAX_NODES) fail("too many nodes");
    nodes[node_count] = (node){{a, b}, {factor_a, factor_b}};
    return node_count++;
}

static void dct4(const int *x, int n, double scale, int *result);

/* Unnormalised DCT-II times `scale`; coefficient 0 times `scale_0`. */
static void dct2(const int *x, int n, double scale_0, double scale, int *result) {
    if (n == 1) {
        result[0] = scale_0 == 1.0 ? x[0] : combine(x[0], scale_0, -1, 0.0);
        return;
    }
    int folded[MAX_LENGTH / 2] = {0}, part[MAX_LENGTH / 2];
    for (int i = 0; i < n / 2; i++) folded[i] = combine(x[i], 1.0, x[n - 1 - i], 1.0);
    dct2(folded, n / 2, scale_0, scale, part);
    for (int k = 0; k < n / 2; k++) result[2 * k] = part[k];
    for (int i = 0; i < n / 2; i++) folded[i] = combine(x[i], 1.0, x[n - 1 - i], -1.0);
    dct4(folded, n / 2, scale, part);
    for (int k = 0; k < n / 2; k++) result[2 * k + 1] = part[k];
}

/* Unnormalised DCT-IV times `scale`. */
static void dct4(const int *x, int n, double scale, int *result) {
    if (n == 1) {
        result[0] = combine(x[0], scale * cos(PI / 4.0), -1, 0.0);
        return;
    }
    int half = n / 2;
    int t[MAX_LENGTH / 4] = {0}, r[MAX_LENGTH / 4] = {0}, a[MAX_LENGTH / 4], s[MAX_LENGTH / 4];
    for (int i = 0; i < half; i++) {
        double angle = (2 * i + 1) * PI / (4 * n);
        double cosine = scale * cos(angle), sine = scale * sin(angle), sign = i % 2 ? -1.0 : 1.0;
        t[i] = combine(x[i], cosine, x[n - 1 - i], sine);
        r[i] = combine(x[i], sign * sine, x[n - 1 - i], -sign * cosine);
    }
    dct2(t, half, 1.0, 1.0, a);
    dct2(r, half, 1.0, 1.0, s);
    result[0] = a[0];
    result[n - 1] = s[0];
    for (int k = 1; k < half; k++) {
        result[2 * k] = combine(a[k], 1.0, s[half - k], -1.0);
        result[2 * k - 1] = combine(a[k], 1.0, s[half - k], 1.0);
    }
}

static void print_name(char letter, int index) { printf("%c%d", letter, index); }

/* fa * a + fb * b, with names `letter`<index>. */
static void print_sum(char letter, int a, double fa, int b, double fb) {
    if (fa == -1.0 && fb == 1.0) {
        print_sum(letter, b, fb, a, fa);
    } else if (fa == 1.0 && fabs(fb) == 1.0) {
        print_name(letter, a);
        printf(fb > 0.0 ? " + " : " - ");
        print_name(letter, b);
    } else if (fb == 1.0) {
        printf("scale_add(");
        print_name(letter, a);
        printf(", %.9gf, ", fa);
        print_name(letter, b);
        printf(")");
    } else if (fa == 1.0) {
        print_sum(letter, b, fb, a, fa);
    } else {
        printf("scale_add(");
        print_name(letter, a);
        printf(", %.9gf, scale(", fa);
        print_name(letter, b);
        printf(", %.9gf))", fb);
    }
}

static void print_scaled(char letter, int a, double factor) {
    if (factor == 1.0) {
        print_name(letter, a);
    } else {
        printf("scale(");
        print_name(letter, a);
        printf(", %.9gf)", factor);
    }
}

static void print_analysis(int length, const int *output) {
    printf("STRAIGHT_LINE void dct_analysis_%d(const vec *x, float *rows, size_t stride) {\n", length);
    for (int i = 0; i < node_count; i++) {
        const node *n = &nodes[i];
        printf("    const vec v%d = ", i);
        if (i < length) {
            printf("x[%d]", i);
        } else if (n->operand[1] < 0) {
            print_scaled('v', n->operand[0], n->factor[0]);
        } else {
            print_sum('v', n->operand[0], n->factor[0], n->operand[1], n->factor[1]);
        }
        printf(";\n");
        for (int k = 0; k < length; k++)
            if (output[k] == i) printf("    store(rows + %d * stride, v%d);\n", k, i);
    }
    printf("}\n\n");
}

static void print_synthesis(int length, const int *output) {
    static int user[MAX_NODES][2];
    static double factor[MAX_NODES][2];
    static int uses[MAX_NODES];
    for (int i = 0; i < node_count; i++) uses[i] = 0;
    for (int i = length; i < node_count; i++)
        for (int o = 0; o < 2; o++) {
            int used = nodes[i].operand[o];
            if (used < 0) continue;
            if (uses[used] == 2) fail("a node is used more than twice");
            user[used][uses[used]] = i;
            factor[used][uses[used]++] = nodes[i].factor[o];
        }
    printf("STRAIGHT_LINE void dct_synthesis_%d(const float *rows, size_t stride, vec *x) {\n", length);
    for (int i = node_count - 1; i >= 0; i--) {
        int row = -1;
        for (int k = 0; k < length; k++)
            if (output[k] == i) row = k;
        if ((row >= 0) == (uses[i] > 0)) fail("a node is both an output and used, or neither");
        printf("    const vec v%d = ", i);
        if (row >= 0) {
            printf("load(rows + %d * stride)", row);
        } else if (uses[i] == 1) {
            print_scaled('v', user[i][0], factor[i][0]);
        } else {
            print_sum('v', user[i][0], factor[i][0], user[i][1], factor[i][1]);
        }
        printf(";\n");
        if (i < length) printf("    x[%d] = v%d;\n", i, i);
    }
    printf("}\n\n");
}

int main(void) {
    printf("/* Generated by gen_dct.c. */\n\n");
    for (int length = 8; length <= MAX_LENGTH; length *= 2) {
        int input[MAX_LENGTH], output[MAX_LENGTH];
        for (int i = 0; i < length; i++) input[i] = i;
        node_count = length;
        double scale = sqrt(2.0 / length);
        dct2(input, length, scale / sqrt(2.0), scale, output);
        print_analysis(length, output);
        print_synthesis(length, output);
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
