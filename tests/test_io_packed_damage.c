/* Damaged packed layers: every truncation, thousands of mutations, and tensors whose checksums are right but whose content
 * is not. A reader says no, or the file is the one that the writer would write of what was read.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/golomb_code.h"
#include "io/range_code.h"
#include "packed_support.h"
#include "support.h"

/* ---- random damage ------------------------------------------------------------------------------------------- */

enum { KINDS = 2, MUTATIONS = 10000 };

/* With positions in the tensors, or as a seed and in a tree. */
static bytes stored_model(int kind) {
    rbe_model *model = kind ? nested_model() : small_model(RBE_ALPHA_ON, 3, "dct", "haar");
    give_bits(model, kind ? 2 : 5, 1);
    bytes b = saved(model, RBE_STORE_F32, kind ? RBE_POSITIONS_SMALLEST : RBE_POSITIONS_DELTA);
    rbe_model_free(model);
    return b;
}

START_TEST(every_truncation_is_refused) {
    bytes b = stored_model(_i);
    for (size_t whole = b.count; b.count-- > 0;) {
        ck_assert_msg(!load_bytes(b), "%zu of %zu bytes", b.count, whole);
        ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
    }
    free(b.data);
}
END_TEST

START_TEST(every_mutation_is_noticed) {
    bytes original = stored_model(_i);
    assert_mutations_noticed(original, load_bytes, "", MUTATIONS / LESS_DAMAGE, 1, (uint64_t)_i);
    free(original.data);
}
END_TEST

/* A file that a forger has made is refused, or it is the file of its model. */
static bool check_canonical(const contents *c) {
    rbe_model *model = load_contents(c);
    if (!model) {
        ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
        return false;
    }
    bytes again = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    contents other = take_apart(again);
    ck_assert_uint_eq(other.count, c->count);
    for (size_t n = 0; n < c->count; n++) {
        ck_assert_uint_eq(other.tensors[n].shape[0], c->tensors[n].shape[0]);
        ck_assert_mem_eq(other.tensors[n].values, c->tensors[n].values, c->tensors[n].shape[0]);
    }
    discard(&other);
    free(again.data);
    rbe_model_free(model);
    return true;
}

/* Bits of the tensors are changed, and their bytes moved; many numbers may be others, but each model has one code. */
START_TEST(there_is_one_code) {
    bytes original = stored_model(_i);
    contents c = take_apart(original);
    rbe_rng *rng = rbe_rng_new(3, (uint64_t)_i);
    size_t loaded = 0;
    ck_assert(check_canonical(&c));
    for (int n = 0; n < 4000 / LESS_DAMAGE; n++) {
        rbe_stored_tensor *t = &c.tensors[rbe_rng_below(rng, (uint32_t)c.count)];
        uint8_t *values = (uint8_t *)t->values, kept[8];
        const size_t size = t->shape[0], at = rbe_rng_below(rng, (uint32_t)size - 8);
        memcpy(kept, values + at, 8);
        for (uint32_t k = 1 + rbe_rng_below(rng, 3); k > 0; k--)
            values[at + rbe_rng_below(rng, 8)] ^= (uint8_t)(1U << rbe_rng_below(rng, 8));
        loaded += check_canonical(&c);
        memcpy(values + at, kept, 8);
    }
    ck_assert_uint_gt(loaded, 0);
    rbe_rng_free(rng);
    discard(&c);
    free(original.data);
}
END_TEST

/* ---- forged tensors ------------------------------------------------------------------------------------------ */

#define GEOMETRY                                                                                                       \
    "\"in\":8,\"out\":8,\"block\":8,\"group\":1,\"row_transform\":\"identity\",\"column_transform\":\"identity\""

/* The numbers of a tensor. Unchanged: a matrix of 8 lists of 8 columns, two entries in list 1 and one in list 5; no
 * bias. */
typedef struct forged {
    uint64_t parts, bits, rows, columns;
    const char *name;
    uint64_t lengths[8], distances[3], steps[2];
    int numbers[3];
    int long_code;          /* of the distance of this number, though it has a short one; -1: none */
    uint64_t ones;          /* in the place of all behind the table */
    bool other_end;         /* of the values */
    uint64_t padding, more; /* the last bits, and bytes behind them */
    size_t cut;             /* bits */
    const char *version;
} forged;

static const forged sound = {.parts = 1,
                             .bits = 4,
                             .name = "values",
                             .columns = 3,
                             .lengths = {0, 2, 0, 0, 0, 1},
                             .distances = {3, 0, 7},
                             .steps = {0x3c00, 0x3d80},
                             .numbers = {7, -3, -7},
                             .long_code = -1,
                             .version = "2"};

static void put(rbe_bits *b, unsigned width, uint64_t value) { rbe_bits_code(b, width, &value); }

static void put_number(rbe_bits *b, uint64_t number) {
    unsigned width = 0;
    while (number >> width) width++;
    put(b, 6, width);
    if (width > 1) put(b, width - 1, number & (((uint64_t)1 << (width - 1)) - 1));
}

static void put_table(rbe_bits *b, const forged *f) {
    put(b, 8, f->parts);
    for (uint64_t n = 0; n < f->parts; n++) {
        put(b, 4, f->bits);
        for (size_t k = 0; k <= strlen(f->name); k++) put(b, 8, (uint8_t)f->name[k]);
        put_number(b, f->rows);
        put_number(b, f->columns);
    }
}

/* As positions_golomb.c: 16 zones, of which a row of 8 columns has every second. */
static void put_positions(rbe_bits *b, const forged *f) {
    rbe_alike alike = rbe_alike_begin(f->columns / 8, 1);
    uint64_t entries = 0;
    for (size_t n = 0; n < 8; n++) {
        uint64_t length = f->lengths[n];
        rbe_alike_code(b, &alike, UINT32_MAX, &length);
        entries += length;
    }
    rbe_average zones[8];
    for (size_t z = 0; z < 8; z++) zones[z] = (rbe_average){4 * (64 - entries) / (entries + 8), 4};
    for (size_t n = 0, k = 0; n < 8; n++)
        for (uint64_t e = 0, next = 0; e < f->lengths[n] && k < 3 && next < 8; e++, k++) {
            uint64_t distance = f->distances[k];
            if ((int)k == f->long_code) {
                put(b, 32, 0xffffffff);
                put(b, 32, distance);
            } else {
                rbe_golomb_code(b, &zones[next], &distance);
            }
            next += distance + 1;
        }
}

static void put_values(rbe_bits *b, const forged *f) {
    rbe_alike alike = rbe_alike_begin(0x3c00, 64);
    for (size_t n = 0; n < 2; n++) {
        uint64_t step = f->steps[n];
        rbe_alike_code(b, &alike, UINT32_MAX, &step);
    }
    rbe_chance chances[16];
    for (size_t n = 0; n < 16; n++) chances[n] = RBE_EVEN_CHANCE;
    rbe_range range = rbe_range_begin(b);
    for (size_t n = 0; n < 3; n++) {
        unsigned code = (unsigned)(f->numbers[n] + 8), before = 1;
        for (unsigned k = 0; k < 4; k++) {
            uint64_t bit = code >> (3 - k) & 1;
            rbe_range_code(&range, &chances[before], &bit);
            before = 2 * before + (unsigned)bit;
        }
    }
    rbe_range_end(&range);
    if (f->other_end) b->bytes[(b->at - 1) / 8] ^= (uint8_t)(0x80 >> (b->at - 1) % 8);
}

static rbe_model *load_forged(const forged *f, const char *stages, bool positions) {
    uint8_t *code = calloc(4096, 1);
    rbe_bits b = {.bytes = code};
    put_table(&b, f);
    for (uint64_t n = 0; n < f->ones; n++) put(&b, 8, 0xff);
    if (f->ones == 0 && positions) put_positions(&b, f);
    if (f->ones == 0) put_values(&b, f);
    b.at -= f->cut;
    put(&b, (unsigned)(8 - b.at % 8) % 8, f->padding);
    for (uint64_t n = 0; n < f->more; n++) put(&b, 8, 0);
    contents c = {.version = f->version, .count = 1};
    snprintf(c.stages, sizeof c.stages, "%s", stages);
    c.tensors[0] = (rbe_stored_tensor){.name = strdup("0.packed"), .dtype = RBE_U8, .dims = 1, .values = code};
    c.tensors[0].shape[0] = (size_t)(b.at / 8);
    rbe_model *model = load_contents(&c);
    const bool same = model && check_canonical(&c);
    ck_assert(!model || same);
    discard(&c);
    return model;
}

static const char of_matrix[] = "[{\"kind\":\"rbe\",\"name\":\"\"," GEOMETRY "}]";

static void no_change(forged *f) { (void)f; }
static void version_1(forged *f) { f->version = "1"; }
static void version_3(forged *f) { f->version = "3"; }
static void no_parts(forged *f) { f->parts = 0; }
static void many_parts(forged *f) { f->parts = 255; }
static void part_twice(forged *f) { f->parts = 2; }
static void one_bit(forged *f) { f->bits = 1; }
static void nine_bits(forged *f) { f->bits = 9; }
static void no_bits(forged *f) { f->bits = 0; }
static void no_name(forged *f) { f->name = ""; }
static void no_utf8(forged *f) { f->name = "valu\xff"; }
static void long_name(forged *f) { f->name = "values.........................................."; }
static void other_name(forged *f) { f->name = "weight"; }
static void in_rows(forged *f) { f->rows = 3, f->columns = 1; }
static void many_values(forged *f) { f->columns = 1000; }
static void countless_values(forged *f) { f->columns = ((uint64_t)1 << 53) - 1; }
static void countless_rows(forged *f) { f->rows = f->columns = (uint64_t)1 << 40; }
static void fewer_values(forged *f) { f->columns = 2; }
static void longer_list(forged *f) { f->lengths[1] = 3; }
static void endless_list(forged *f) { f->lengths[2] = 9; }
static void exploding_list(forged *f) { f->lengths[2] = 0x7fffffff; }
static void all_ones(forged *f) { f->ones = 60; }
static void distance_too_large(forged *f) { f->distances[2] = 8; }
static void second_too_large(forged *f) { f->distances[1] = 4; }
static void row_is_full(forged *f) { f->distances[0] = 7; }
static void distance_explodes(forged *f) { f->distances[0] = 0xfffffffe; }
static void needlessly_long(forged *f) { f->long_code = 1; }
static void infinite_step(forged *f) { f->steps[1] = 0x7f80; }
static void nan_step(forged *f) { f->steps[0] = 0x7fc0; }
static void negative_step(forged *f) { f->steps[0] = 0xbc00; }
static void tiny_step(forged *f) { f->steps[0] = 0x007f; }
static void least_step(forged *f) { f->steps[0] = 0x0080; }
static void no_step(forged *f) { f->steps[1] = 0; }
static void row_of_zeros(forged *f) { f->steps[1] = 0, f->numbers[2] = 0; }
static void largest_step(forged *f) { f->steps[1] = 0x7f7f; }
static void large_step(forged *f) { f->steps[1] = 0x7e00; }
static void least_number(forged *f) { f->numbers[1] = -8; }
static void small_row(forged *f) { f->numbers[2] = 6; }
static void zero_row(forged *f) { f->numbers[2] = 0; }
static void cut_short(forged *f) { f->cut = 8; }
static void ends_otherwise(forged *f) { f->other_end = true; }
static void padded(forged *f) { f->padding = 1; }
static void byte_more(forged *f) { f->more = 1; }
static void bytes_more(forged *f) { f->more = 100; }

#define TENSOR "stage 0: tensor 0.packed: "
#define PLACE "tensor 0.packed: values: "

static const struct {
    void (*change)(forged *);
    const char *reason; /* NULL: it is read */
} forgeries[] = {
    {no_change, NULL},
    {version_1, TENSOR "expected version 2 of the format, found 1"},
    {version_3, "expected version 1 or 2 of the format, found 3"},
    {no_parts, TENSOR "no parameter has bits"},
    {many_parts, TENSOR "the layer has no parameter values"},
    {part_twice, TENSOR "the layer has no parameter values"},
    {one_bit, TENSOR "parameter 0 of its table is wrong"},
    {nine_bits, TENSOR "parameter 0 of its table is wrong"},
    {no_bits, TENSOR "no parameter has bits"},
    {no_name, TENSOR "parameter 0 of its table is wrong"},
    {no_utf8, TENSOR "parameter 0 of its table is wrong"},
    {long_name, TENSOR "parameter 0 of its table is wrong"},
    {other_name, TENSOR "its values are missing"},
    {in_rows, TENSOR "expected values of 3 values in 0 rows, found values of 3 in 3"},
    {many_values, "tensor 0.packed: expected 3 values, as the positions say, found 1000"},
    {countless_values, "stage 0: it takes 36028797018963964 bytes of memory, expected at most"},
    {countless_rows, TENSOR "parameter 0 of its table is wrong"},
    {fewer_values, "tensor 0.packed: expected 3 values, as the positions say, found 2"},
    {longer_list, "tensor 0.packed: expected 4 values, as the positions say, found 3"},
    {endless_list, "tensor 0.packed: the length of list 2 is wrong"},
    {exploding_list, "tensor 0.packed: the length of list 2 is wrong"},
    {all_ones, "tensor 0.packed: the length of list 0 is wrong"},
    {distance_too_large, "tensor 0.packed: position 0 of list 5 is wrong"},
    {second_too_large, "tensor 0.packed: position 1 of list 1 is wrong"},
    {row_is_full, "tensor 0.packed: position 1 of list 1 is wrong"},
    {distance_explodes, "tensor 0.packed: position 0 of list 1 is wrong"},
    {needlessly_long, "tensor 0.packed: position 1 of list 1 is wrong"},
    {infinite_step, PLACE "the step of row 5 is wrong"},
    {nan_step, PLACE "the step of row 1 is wrong"},
    {negative_step, PLACE "the step of row 1 is wrong"},
    {tiny_step, PLACE "the step of row 1 is wrong"},
    {least_step, NULL},
    {no_step, PLACE "value 2 is -7 steps, expected at most 0"},
    {row_of_zeros, NULL},
    {largest_step, PLACE "value 2, times its step, is too large"},
    {large_step, NULL},
    {least_number, PLACE "value 1 is -8 steps, expected at most 7"},
    {small_row, PLACE "row 5 has a step of 0.0625, expected 0.0534668"},
    {zero_row, PLACE "row 5 has a step of 0.0625, expected 0 for its values"},
    {cut_short, "tensor 0.packed: "},
    {ends_otherwise, PLACE "the end of its values is wrong"},
    {padded, TENSOR "the last bits are not 0"},
    {byte_more, TENSOR "bytes follow the last value"},
    {bytes_more, TENSOR "bytes follow the last value"},
};

enum { FORGERIES = sizeof forgeries / sizeof *forgeries };

static void check_forged(rbe_model *model, const char *reason) {
    if (reason) {
        ck_assert_msg(!model, "%s", reason);
        assert_failed(RBE_BAD_FORMAT, reason);
    } else {
        ck_assert_msg(model != NULL, "%s", rbe_last_error());
    }
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}

START_TEST(tensors_are_checked) {
    forged f = sound;
    forgeries[_i].change(&f);
    check_forged(load_forged(&f, of_matrix, true), forgeries[_i].reason);
}
END_TEST

/* The same numbers as a dense matrix, and under other descriptions. */
static const struct {
    const char *stage;
    uint64_t rows, columns;
    bool positions;
    const char *reason;
} descriptions[] = {
    {"\"kind\":\"rbe\",\"name\":\"\"," GEOMETRY ",\"bits\":4", 0, 3, true, "a member that is unknown or occurs twice"},
    {"\"kind\":\"rbe\",\"name\":\"\"," GEOMETRY ",\"seed\":\"1\",\"limit\":3", 0, 3, false, "limit: 3 does not fit"},
    {"\"kind\":\"rbe\",\"name\":\"\"," GEOMETRY ",\"seed\":\"1\",\"limit\":8", 0, 3, false, "limit: 8 does not fit"},
    {"\"kind\":\"rbe\",\"name\":\"\"," GEOMETRY ",\"seed\":\"x\",\"limit\":8", 0, 3, false,
     "seed: expected the digits"},
    {"\"kind\":\"relu\"", 0, 3, true, TENSOR "the layer has no parameter values"},
    {"\"kind\":\"dense\",\"name\":\"\",\"in\":1,\"out\":3", 3, 1, true, TENSOR "expected weight of 3 values in 3 rows"},
    {"\"kind\":\"rms_norm\",\"name\":\"\",\"width\":3,\"epsilon\":0", 0, 3, true, "width: expected"},
};

enum { DESCRIPTIONS = sizeof descriptions / sizeof *descriptions };

START_TEST(descriptions_are_checked) {
    forged f = sound;
    char stages[600];
    snprintf(stages, sizeof stages, "[{%s}]", descriptions[_i].stage);
    f.rows = descriptions[_i].rows;
    f.columns = descriptions[_i].columns;
    check_forged(load_forged(&f, stages, descriptions[_i].positions), descriptions[_i].reason);
}
END_TEST

TCase *packed_damage_case(void) {
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, scratch_clear, scratch_clear);
    tcase_add_loop_test(damage, every_truncation_is_refused, 0, KINDS);
    tcase_add_loop_test(damage, every_mutation_is_noticed, 0, KINDS);
    tcase_add_loop_test(damage, there_is_one_code, 0, KINDS);
    tcase_add_loop_test(damage, tensors_are_checked, 0, FORGERIES);
    tcase_add_loop_test(damage, descriptions_are_checked, 0, DESCRIPTIONS);
    return damage;
}
