/* The pieces of a packed layer, coded in both directions. */
#include <math.h>
#include <string.h>

#include "base/bfloat.h"
#include "io/golomb_code.h"
#include "io/packed.h"
#include "io/range_code.h"

/* ---- the table ----------------------------------------------------------------------------------------------- */

/* How many bits a number below 2^53 has, in 6 bits; then these, without the first, which is 1. */
static bool code_number(rbe_bits *b, uint64_t *number) {
    uint64_t width = 0;
    while (!b->reads && *number >> width) width++;
    rbe_bits_code(b, 6, &width);
    if (width > 53) return false;
    if (width > 1) rbe_bits_code(b, (unsigned)width - 1, number);
    if (b->reads) *number = width == 0 ? 0 : width == 1 ? 1 : *number | (uint64_t)1 << (width - 1);
    return true;
}

/* Its bytes, and a zero. */
static bool code_name(rbe_bits *b, char name[RBE_NAME_SIZE]) {
    for (size_t n = 0; n < RBE_NAME_SIZE; n++) {
        uint64_t byte = (uint8_t)name[n];
        rbe_bits_code(b, 8, &byte);
        name[n] = (char)byte;
        if (byte == 0) return n > 0 && rbe_utf8_length(name, n) == n;
    }
    return false;
}

bool rbe_packed_part_code(rbe_bits *b, rbe_packed_part *part) {
    rbe_bits_code(b, 4, &part->bits);
    if (part->bits == 1 || part->bits > RBE_MOST_BITS || !code_name(b, part->name)) return false;
    size_t product;
    return code_number(b, &part->rows) && code_number(b, &part->columns) && !rbe_bits_over(b) &&
           !__builtin_mul_overflow(part->rows, part->columns, &product);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

#define USUAL_STEP 0x3c00 /* 2^-7 as a bf16 */
#define SMALLEST 0x0080   /* that has all bits of its fraction: steps below are 0 */
#define LARGEST 0x7f7f    /* that is finite */
#define USUAL_DIFFERENCE 64

rbe_status rbe_packed_steps_code(rbe_bits *b, const rbe_rows *rows, float *steps, const char *name, const char *part) {
    rbe_alike alike = rbe_alike_begin(USUAL_STEP, USUAL_DIFFERENCE);
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t m = 0; m < r.members && r.entries > 0; m++) {
            float *step = &steps[r.first + m * r.step];
            uint64_t code = b->reads ? 0 : rbe_bf16_from_f32(*step);
            if (!rbe_alike_code(b, &alike, LARGEST, &code) || (code > 0 && code < SMALLEST))
                return rbe_fail(RBE_BAD_FORMAT, "%s: %s: the step of row %zu is wrong", name, part,
                                r.first + m * r.step);
            if (b->reads) *step = rbe_bf16_to_f32((uint16_t)code);
        }
    }
    return RBE_OK;
}

enum { LEARNT = 6 /* bits of a number whose chances are learnt */ };

/* A whole number, 2^(width - 1) added, from its first bit on. Each of the first six has a chance of its own for all that
 * may stand before it; the others are as good as even. */
static float code_whole(rbe_range *range, rbe_chance *chances, unsigned width, float number) {
    const int middle = 1 << (width - 1);
    const unsigned code = (unsigned)(middle + (int)number);
    unsigned found = 1; /* the bits so far, with a 1 before them */
    for (unsigned n = 0; n < width; n++) {
        rbe_chance even = RBE_EVEN_CHANCE;
        uint64_t bit = code >> (width - 1 - n) & 1;
        rbe_range_code(range, n < LEARNT ? &chances[found] : &even, &bit);
        found = 2 * found + (unsigned)bit;
    }
    return (float)((int)found - 3 * middle); /* 2 middle is the 1 before them */
}

rbe_status rbe_packed_numbers_code(rbe_bits *b, const rbe_rows *rows, unsigned width, const float *steps,
                                   float *numbers, const char *name, const char *part) {
    const float most = (float)rbe_most_steps(width);
    rbe_chance chances[1 << LEARNT];
    for (size_t n = 0; n < sizeof chances / sizeof *chances; n++) chances[n] = RBE_EVEN_CHANCE;
    rbe_range range = rbe_range_begin(b);
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                const float number = code_whole(&range, chances, width, b->reads ? 0.0f : numbers[at]);
                const float limit = steps[r.first + m * r.step] > 0.0f ? most : 0.0f;
                if (fabsf(number) > limit)
                    return rbe_fail(RBE_BAD_FORMAT, "%s: %s: value %zu is %g steps, expected at most %g", name, part,
                                    at, (double)number, (double)limit);
                if (b->reads) numbers[at] = number;
            }
    }
    if (rbe_range_end(&range) && !rbe_bits_over(b)) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: %s: the end of its values is wrong", name, part);
}

void rbe_packed_floats_code(rbe_bits *b, float *values, size_t count) {
    for (size_t n = 0; n < count; n++) {
        uint32_t bits;
        memcpy(&bits, &values[n], sizeof bits);
        uint64_t code = bits;
        rbe_bits_code(b, 32, &code);
        bits = (uint32_t)code;
        memcpy(&values[n], &bits, sizeof bits);
    }
}
