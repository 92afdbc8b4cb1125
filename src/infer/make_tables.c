/* Writes tables.h's tables as C, from what the full library has: a program that runs when the small library is built. Numbers
 * are printed in base 16, so that they are the same bits. */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "infer/tables.h"

static void print_numbers(const double *numbers, size_t count) {
    for (size_t n = 0; n < count; n++) printf("%s%a,", n % 8 == 0 ? "\n    " : " ", numbers[n]);
}

static void print_array(const char *name, size_t number, const double *numbers, size_t count) {
    printf("static const double %s_%zu[] = {", name, number);
    print_numbers(numbers, count);
    printf("\n};\n\n");
}

/* ---- filters ------------------------------------------------------------------------------------------------- */

/* The n-th transform with filters; NULL past the last. */
static const rbe_transform *wavelet(size_t n) {
    const rbe_transform *transform;
    for (size_t k = 0; (transform = rbe_transform_at(k)); k++)
        if (transform->member > 0 && n-- == 0) return transform;
    return NULL;
}

static void print_pair(const char *name, const rbe_filters *f, size_t member) {
    char part[32];
    snprintf(part, sizeof part, "%s_low", name);
    print_array(part, member, f->low, f->taps);
    snprintf(part, sizeof part, "%s_high", name);
    print_array(part, member, f->high, f->taps);
}

static void print_filters(void) {
    const rbe_transform *transform;
    rbe_filters analysis, synthesis;
    for (size_t n = 0; (transform = wavelet(n)); n++) {
        rbe_transform_filters(transform, &analysis, &synthesis);
        print_pair("analysis", &analysis, transform->member);
        print_pair("synthesis", &synthesis, transform->member);
    }
    printf("const rbe_filter_table rbe_filter_tables[] = {\n");
    for (size_t n = 0; (transform = wavelet(n)); n++) {
        const size_t m = transform->member;
        rbe_transform_filters(transform, &analysis, &synthesis);
        printf("    {%zu, {analysis_low_%zu, analysis_high_%zu, %zu}, {synthesis_low_%zu, synthesis_high_%zu, %zu}},\n",
               m, m, m, analysis.taps, m, m, synthesis.taps);
    }
    printf("};\n\n");
}

/* ---- bases --------------------------------------------------------------------------------------------------- */

enum { LEAST_BLOCK = 8, MOST_BLOCK = 256 };

static rbe_basis *basis_of(size_t block) {
    rbe_basis *basis = rbe_basis_new(block);
    if (basis) return basis;
    fprintf(stderr, "make_tables: %s\n", rbe_last_error());
    exit(1);
}

static void print_basis(const rbe_basis *b) {
    printf("    {%zu, %zu, even_%zu, vector_%zu, {", b->block, b->rank, b->block, b->block);
    print_numbers(b->lambda, RBE_MAX_RANK);
    printf("\n    }, {");
    for (size_t k = 0; k < RBE_BASIS_COUNT; k++) {
        printf("{");
        print_numbers(b->to_orthonormal[k], RBE_BASIS_COUNT);
        printf("}, ");
    }
    printf("}},\n");
}

static void print_bases(void) {
    for (size_t block = LEAST_BLOCK; block <= MOST_BLOCK; block *= 2) {
        rbe_basis *b = basis_of(block);
        print_array("even", block, b->even[0], RBE_EVEN_COUNT * block / 2);
        print_array("vector", block, b->vector[0], b->rank * block / 2);
        rbe_free(b);
    }
    printf("const rbe_basis_table rbe_basis_tables[] = {\n");
    for (size_t block = LEAST_BLOCK; block <= MOST_BLOCK; block *= 2) {
        rbe_basis *b = basis_of(block);
        print_basis(b);
        rbe_free(b);
    }
    printf("};\n\n");
}

/* ---- checksums ----------------------------------------------------------------------------------------------- */

/* Of a byte and `zeros` zeros. */
static uint32_t checksum_of(uint32_t byte, int zeros) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8 * (zeros + 1); bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    return crc;
}

static void print_checksums(void) {
    printf("const uint32_t rbe_crc_table[8][256] = {");
    for (int zeros = 0; zeros < 8; zeros++) {
        printf("{");
        for (uint32_t byte = 0; byte < 256; byte++)
            printf("%s0x%08x,", byte % 8 == 0 ? "\n    " : " ", (unsigned)checksum_of(byte, zeros));
        printf("\n}, ");
    }
    printf("};\n");
}

int main(void) {
    printf("/* Written by src/infer/make_tables.c. */\n#include \"infer/tables.h\"\n\n");
    print_filters();
    print_bases();
    print_checksums();
    return fflush(stdout) == 0 ? 0 : 1;
}
