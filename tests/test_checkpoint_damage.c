/* Damaged checkpoints: every truncation, 100,000 mutations, and files whose checksums are right but whose content is
 * not. A load says no, and everything is as it was; or it gives what was stored. It never crashes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"
#include "support.h"
#include "train/checkpoint.h"

/* ---- a small training ------------------------------------------------------------------------------------------ */

typedef enum sort { PLAIN, GROWN, PRUNED, SORTS } sort;

typedef struct small {
    rbe_model *model;
    rbe_optim *optim;
    rbe_growth *growth;
    rbe_gradual *gradual;
    rbe_routine routines[3];
    rbe_checkpoint checkpoint;
    double number;
} small;

static rbe_status write_number_of(void *user, rbe_writer *w) {
    RBE_TRY(rbe_write_number(w, "number", ((const small *)user)->number));
    return rbe_write_text(w, "text", "a text");
}

static rbe_status read_number_of(void *user, rbe_reader *r) {
    double number;
    RBE_TRY(rbe_read_number(r, "number", 0.0, 100.0, &number));
    RBE_TRY(rbe_read_same_text(r, "text", "a text"));
    ((small *)user)->number = number;
    return RBE_OK;
}

static void small_make(small *s, sort kind) {
    *s = (small){.model = rbe_model_new(), .number = 0.5};
    const rbe_linear_options options = {.block = 8, .ratio = 4, .alpha = kind == PRUNED ? RBE_ALPHA_ON : RBE_ALPHA_OFF};
    rbe_model_add(s->model, kind == PLAIN ? rbe_dense_new(4, 5, NULL) : rbe_linear_new(8, 8, &options));
    rbe_model_apply(s->model, rbe_relu);
    ck_assert_ok(rbe_model_status(s->model));
    s->optim = rbe_optim_new(kind == PRUNED ? rbe_sgd : rbe_adam, s->model, &(rbe_optim_options){.momentum = 0.5f});
    rbe_routine *next = s->routines;
    *next++ = (rbe_routine){.name = "number", .write = write_number_of, .read = read_number_of, .user = s};
    if (kind == GROWN) {
        s->growth = rbe_growth_new(s->model, &(rbe_growth_options){.steps = 50, .every = 2});
        *next++ = rbe_growth_routine(s->growth);
    }
    if (kind == PRUNED) {
        s->gradual = rbe_gradual_new(s->model, &(rbe_gradual_options){.final = 0.5, .end = 4, .every = 1});
        *next++ = rbe_gradual_routine(s->gradual);
    }
    s->checkpoint = (rbe_checkpoint){s->model, s->optim, s->routines, (size_t)(next - s->routines)};
}

static void small_free(small *s) {
    rbe_growth_free(s->growth);
    rbe_gradual_free(s->gradual);
    rbe_optim_free(s->optim);
    rbe_model_free(s->model);
}

/* A step without data: any gradient will do. */
static rbe_status small_step(small *s, size_t step) {
    float x[8] = {1.0f, -2.0f, 0.5f, 3.0f, (float)step};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_model_forward(s->model, rbe_input(tape, rbe_tensor_2d(x, 1, s->growth || s->gradual ? 8 : 4)));
    rbe_status status = rbe_backward(rbe_mean(rbe_mul(y, y)));
    if (status == RBE_OK) status = rbe_optim_step(s->optim);
    if (status == RBE_OK && s->gradual) status = rbe_gradual_step(s->gradual, step);
    if (status == RBE_OK && s->growth) status = rbe_growth_step(s->growth, step);
    rbe_zero_grad(s->model);
    rbe_tape_free(tape);
    return status;
}

static bytes small_state(small *s) { return snapshot(s->model, s->optim, s->routines, s->checkpoint.routine_count); }

/* The checkpoint after three steps, which differs in everything from a new one. */
static bytes small_file(sort kind, bytes *state) {
    small s;
    small_make(&s, kind);
    for (size_t n = 0; n < 4; n++) ck_assert_ok(small_step(&s, n));
    s.number = 0.1;
    ck_assert_ok(rbe_checkpoint_save(&s.checkpoint, scratch_path("small"), 1));
    *state = small_state(&s);
    small_free(&s);
    return read_whole(scratch_path("small"));
}

/* ---- random damage --------------------------------------------------------------------------------------------- */

/* What rbe_checkpoint_load does, without a file, which would take longer than the rest. */
static rbe_status load_bytes_into(small *s, bytes b) {
    rbe_tensor_file *file = rbe_tensor_file_open_memory(b.data, b.count);
    rbe_status status = file ? rbe_checkpoint_from_file(&s->checkpoint, file) : rbe_last_status();
    rbe_tensor_file_close(file);
    return status;
}

/* Loads a file into a new training; nothing else than the two states is allowed. */
static bool load_or_leave(small *s, bytes file, bytes fresh, bytes stored, const char *what, size_t n,
                          rbe_status refusal) {
    rbe_status status = load_bytes_into(s, file);
    bytes found = small_state(s);
    ck_assert_msg(status == RBE_OK || status == RBE_BAD_FORMAT || status == refusal, "%s %zu: %s: %s", what, n,
                  rbe_status_name(status), rbe_last_error());
    ck_assert_msg(same_bytes(found, status == RBE_OK ? stored : fresh), "%s %zu: %s, and another state", what, n,
                  rbe_status_name(status));
    free(found.data);
    return status == RBE_OK;
}

START_TEST(every_truncation_is_refused) {
    small s;
    bytes stored, whole = small_file((sort)_i, &stored), b = whole;
    small_make(&s, (sort)_i);
    bytes fresh = small_state(&s);
    for (b.count = 0; b.count < whole.count; b.count++) {
        ck_assert_msg(!load_or_leave(&s, b, fresh, stored, "length", b.count, RBE_BAD_FORMAT), "%zu of %zu bytes",
                      b.count, whole.count);
    }
    ck_assert(load_or_leave(&s, whole, fresh, stored, "length", whole.count, RBE_BAD_FORMAT));
    small_free(&s);
    free(whole.data);
    free(stored.data);
    free(fresh.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

enum { MUTATIONS = 100000 / LESS_DAMAGE, PARTS = 6 };

START_TEST(every_mutation_is_noticed) {
    const sort kind = (sort)(_i % SORTS);
    small s;
    bytes stored, whole = small_file(kind, &stored);
    small_make(&s, kind);
    size_t room = whole.count + 64, loaded = 0;
    bytes fresh = small_state(&s), b = {malloc(room), 0};
    rbe_rng *rng = rbe_rng_new(77, (uint64_t)_i);
    for (size_t n = 0; n < MUTATIONS / PARTS + 1; n++) {
        b.count = whole.count;
        memcpy(b.data, whole.data, b.count);
        mutate(&b, room, rng);
        if (!load_or_leave(&s, b, fresh, stored, "mutation", n, RBE_BAD_FORMAT)) continue;
        ck_assert_msg(same_bytes(b, whole), "mutation %zu was not noticed", n);
        loaded++;
        small_free(&s); /* it has moved on: another one */
        small_make(&s, kind);
    }
    ck_assert_uint_lt(loaded, MUTATIONS / PARTS / 10); /* by chance unchanged */
    rbe_rng_free(rng);
    small_free(&s);
    free(whole.data);
    free(stored.data);
    free(fresh.data);
    free(b.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- damage with right checksums ------------------------------------------------------------------------------- */

enum { TEXTS = 5, MOST_TENSORS = 24 };

/* A checkpoint taken apart. */
typedef struct parts {
    rbe_stored_tensor tensors[MOST_TENSORS];
    size_t count;
    rbe_metadata metadata[TEXTS];
    size_t texts;
} parts;

static parts part(bytes file) {
    parts p = {0};
    rbe_tensor_file *open = open_bytes(file);
    const rbe_tensor_info *info;
    for (; (info = rbe_tensor_file_at(open, p.count)); p.count++) {
        void *values = malloc(info->bytes + 1);
        ck_assert_ok(rbe_tensor_file_read(open, p.count, values));
        rbe_stored_tensor *t = &p.tensors[p.count];
        *t =
            (rbe_stored_tensor){.name = strdup(info->name), .dtype = info->dtype, .dims = info->dims, .values = values};
        memcpy(t->shape, info->shape, sizeof info->shape);
    }
    for (size_t n = 0; n < open->metadata_count; n++) {
        const rbe_metadata *m = &open->metadata[n];
        if (strstr(m->key, "crc32")) continue;
        ck_assert_uint_lt(p.texts, TEXTS);
        p.metadata[p.texts++] = (rbe_metadata){strdup(m->key), strdup(m->value)};
    }
    rbe_tensor_file_close(open);
    return p;
}

static void parts_free(parts *p) {
    for (size_t n = 0; n < p->count; n++) {
        free((char *)p->tensors[n].name);
        free((void *)p->tensors[n].values);
    }
    for (size_t n = 0; n < p->texts; n++) {
        free((char *)p->metadata[n].key);
        free((char *)p->metadata[n].value);
    }
}

static void assemble(const parts *p, const char *path) {
    ck_assert_ok(rbe_tensor_file_save(path, p->tensors, p->count, p->metadata, p->texts, true));
}

/* `to` in the place of the first `from` that any text has. */
static void replace(parts *p, const char *from, const char *to) {
    for (size_t n = 0; n < p->texts; n++) {
        const char *text = p->metadata[n].value, *at = strstr(text, from);
        if (!at) continue;
        char *made = malloc(strlen(text) + strlen(to) + 1);
        sprintf(made, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        free((char *)text);
        p->metadata[n].value = made;
        return;
    }
    ck_abort_msg("no text has %s: %s %s %s", from, p->metadata[0].value, p->metadata[1].value, p->metadata[2].value);
}

#define TEXT_OF(X) #X
#define VERSION(A, B, C) TEXT_OF(A) "." TEXT_OF(B) "." TEXT_OF(C)
#define LIBRARY "\"library\":\"" VERSION(RBE_VERSION_MAJOR, RBE_VERSION_MINOR, RBE_VERSION_PATCH) "\""

static const struct {
    sort kind;
    const char *from, *to;
    rbe_status status; /* RBE_OK: it loads */
    const char *reason;
} forgeries[] = {
    {PLAIN, LIBRARY, "\"library\":\"0.0.9\"", RBE_INVALID_ARGUMENT, "saved by version 0.0.9 of the library, this"},
    {PLAIN, LIBRARY ",", "", RBE_BAD_FORMAT, "version is missing"},
    {PLAIN, LIBRARY, "\"library\":3", RBE_BAD_FORMAT, "version is missing"},
    {PLAIN, "checkpoint", "model", RBE_BAD_FORMAT, "checkpoint"},
    {PLAIN, "{\"library\"", "[\"library\"", RBE_BAD_FORMAT, "JSON"},
    {PLAIN, "\"number\":{", "\"other\":{", RBE_INVALID_ARGUMENT, "no number when it was saved, one now"},
    {PLAIN, "\"number\":{", "\"twice\":{},\"number\":{", RBE_INVALID_ARGUMENT, "twice when it was saved, none now"},
    {PLAIN, "\"number\":{", "\"number\":{},\"number\":{", RBE_BAD_FORMAT, ""},
    {PLAIN, "\"optimiser\":{\"method\"", "\"optimiser\":3,\"x\":{\"method\"", RBE_INVALID_ARGUMENT, "no optimiser"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":3", RBE_OK, NULL},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":0.1", RBE_BAD_FORMAT,
     "number: number: expected a number, 0 .. 100"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":101", RBE_BAD_FORMAT, "expected a number, 0 .. 100"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":\"7ff8000000000000\"", RBE_BAD_FORMAT, "expected a number"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":\"3FB999999999999A\"", RBE_BAD_FORMAT, "expected a number"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":null", RBE_BAD_FORMAT, "expected a number"},
    {PLAIN, "\"number\":\"3fb999999999999a\"", "\"number\":3,\"more\":1", RBE_BAD_FORMAT, "members"},
    {PLAIN, "\"text\":\"a text\"", "\"text\":7", RBE_BAD_FORMAT, "text: expected a text"},
    {PLAIN, "\"text\":\"a text\"", "\"text\":\"another\"", RBE_INVALID_ARGUMENT,
     "text: another when it was saved, a text now"},
    {PLAIN, ",\"text\":\"a text\"", "", RBE_BAD_FORMAT, "text: expected a text"},
    {PLAIN, "\"steps\":4", "\"steps\":-4", RBE_BAD_FORMAT, "optimiser: steps"},
    {PLAIN, "\"steps\":4", "\"steps\":4.5", RBE_BAD_FORMAT, "optimiser: steps"},
    {PLAIN, "\"steps\":4", "\"steps\":1e300", RBE_BAD_FORMAT, "optimiser: steps"},
    {PLAIN, "\"steps\":4", "\"steps\":[]", RBE_BAD_FORMAT, "optimiser: steps"},
    {PLAIN, "\"method\":\"adam\"", "\"method\":\"sgd\"", RBE_INVALID_ARGUMENT,
     "method: sgd when it was saved, adam now"},
    {PLAIN, "[{\"is\"", "{\"a\":{\"is\"", RBE_BAD_FORMAT, "JSON"},
    {PLAIN, "[{\"is\"", "[7,{\"is\"", RBE_INVALID_ARGUMENT, "layers when it was saved"},
    {PLAIN, "\"kind\":\"relu\"", "\"kind\":\"gelu\"", RBE_INVALID_ARGUMENT, "gelu"},
    {PLAIN, "\"frozen\":0", "\"frozen\":2", RBE_BAD_FORMAT, "frozen"},
    {PLAIN, "\"frozen\":0", "\"frozen\":1", RBE_OK, NULL},
    {PLAIN, "\"frozen\":0", "\"x\":1,\"frozen\":0", RBE_BAD_FORMAT, "members"},
    {PLAIN, "\"count\":20", "\"count\":19", RBE_INVALID_ARGUMENT, "19 values when it was saved, 20 now"},
    {PLAIN, "\"count\":20", "\"count\":9007199254740991", RBE_INVALID_ARGUMENT, "values when it was saved, 20 now"},
    {PLAIN, "\"decays\":1", "\"decays\":0", RBE_INVALID_ARGUMENT, "decays"},
    {PLAIN, "\"bits\":0", "\"bits\":4", RBE_INVALID_ARGUMENT, "bits: 4 when it was saved, 0 now"},
    {PLAIN, "\"bits\":0,", "", RBE_BAD_FORMAT, "bits"},
    {PLAIN, "\"companions\":[\"adam.m\"", "\"companions\":[7", RBE_BAD_FORMAT, "companions: expected names"},
    {PLAIN, "\"companions\":[\"adam.m\"", "\"companions\":[[]", RBE_BAD_FORMAT, "companions: expected names"},
    {PLAIN, "\"companions\":[\"adam.m\",", "\"companions\":[", RBE_INVALID_ARGUMENT, "adam.m"},
    {PLAIN, "\"companions\":[\"adam.m\",", "\"companions\":[\"adam.m\",\"adam.m\",", RBE_OK, NULL},
    {PLAIN, "\"companions\":[\"adam.m\",", "\"companions\":[\"adam.m\",\"new\",", RBE_BAD_FORMAT, "new"},
    {PLAIN, "\"companions\":[\"adam.m\",",
     "\"companions\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",", RBE_BAD_FORMAT, "names"},
    {PLAIN, "\"companions\":[", "\"companions\":{\"a\":[", RBE_BAD_FORMAT, "JSON"},
    {PLAIN, "\"companions\":[\"adam.m\",\"adam.v\"]", "\"companions\":{}", RBE_BAD_FORMAT,
     "companions: expected a list"},
    {PLAIN, "\"params\":[{", "\"params\":[7,{", RBE_INVALID_ARGUMENT, "3 parameters when it was saved, 2 now"},
    {GROWN, "\"matrix\":{", "\"matrix\":{\"x\":1,", RBE_BAD_FORMAT, "matrix"},
    {GROWN, "\"block\":8", "\"block\":16", RBE_BAD_FORMAT, ""},
    {GROWN, "\"block\":8", "\"block\":3", RBE_BAD_FORMAT, "block"},
    {GROWN, "\"row_transform\":\"dct\"", "\"row_transform\":\"wht\"", RBE_INVALID_ARGUMENT, "wht x dct"},
    {GROWN, "\"count\":16", "\"count\":15", RBE_BAD_FORMAT, ""},
    {GROWN, "\"count\":16", "\"count\":0", RBE_BAD_FORMAT, ""},
    {GROWN, "\"armed_0\":", "\"armed_0\":2,\"x\":", RBE_BAD_FORMAT, "growth: armed_0"},
    {GROWN, "\"exchanges\":1", "\"exchanges\":-1", RBE_BAD_FORMAT, "growth: exchanges"},
    {GROWN, "\"exchanges\":1", "\"exchanges\":1,\"more\":1", RBE_BAD_FORMAT, "members"},
    {PRUNED, "\"coefficients\":8", "\"coefficients\":0", RBE_BAD_FORMAT, "gradual pruning: coefficients"},
    {PRUNED, "\"layer_0\":8", "\"layer_1\":8", RBE_BAD_FORMAT, "gradual pruning: layer_0"},
    {PRUNED, "\"layer_0\":8", "\"layer_0\":8,\"layer_1\":8", RBE_BAD_FORMAT, "members"},
};
#define FORGERIES (int)(sizeof forgeries / sizeof *forgeries)

START_TEST(forgeries_are_refused) {
    char path[80];
    small s;
    bytes stored, whole = small_file(forgeries[_i].kind, &stored);
    strcpy(path, scratch_path("forged"));
    parts p = part(whole);
    replace(&p, forgeries[_i].from, forgeries[_i].to);
    assemble(&p, path);
    small_make(&s, forgeries[_i].kind);
    bytes before = small_state(&s);
    rbe_status status = rbe_checkpoint_load(&s.checkpoint, path);
    ck_assert_msg(status == forgeries[_i].status, "case %d: %s: %s", _i, rbe_status_name(status), rbe_last_error());
    if (status != RBE_OK) {
        bytes after = small_state(&s);
        assert_failed(status, forgeries[_i].reason);
        ck_assert_msg(same_bytes(before, after), "case %d: something has changed", _i);
        free(after.data);
    }
    ck_assert_ok(small_step(&s, 4));
    parts_free(&p);
    small_free(&s);
    free(whole.data);
    free(stored.data);
    free(before.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Tensors that are missing, too many, of another type or shape, or not finite. */
START_TEST(tensors_are_checked) {
    small s;
    bytes stored, whole = small_file((sort)_i, &stored);
    parts p = part(whole);
    char path[80];
    strcpy(path, scratch_path("forged"));
    small_make(&s, (sort)_i);
    bytes fresh = small_state(&s);
    for (size_t n = 0; n < p.count; n++)
        for (int how = 0; how < 6; how++) {
            rbe_stored_tensor *t = &p.tensors[n], kept = *t, last = p.tensors[p.count - 1];
            size_t count = p.count;
            float bad[64] = {[63] = 0};
            if (how == 0) *t = p.tensors[--p.count];
            if (how == 1) t->name = "something.else";
            if (how == 2)
                t->dtype = RBE_F64, t->values = memset(bad, 0, sizeof bad),
                t->shape[0] = t->shape[0] < 8 ? t->shape[0] : 8;
            if (how == 3) t->shape[0]--;
            if (how == 4) t->dims = 2, t->shape[1] = 1 + (t->dtype != RBE_F32), t->values = memset(bad, 0, sizeof bad);
            if (how == 5) {
                if (t->dtype != RBE_F32 || strlen(t->name) > 6) continue; /* companions may be anything */
                for (size_t k = 0; k < 64; k++) bad[k] = (float)NAN;
                t->values = bad;
            }
            assemble(&p, path);
            bytes harmed = read_whole(path);
            ck_assert_msg(!load_or_leave(&s, harmed, fresh, stored, "tensor", n, RBE_INVALID_ARGUMENT),
                          "tensor %s, harm %d: %s", kept.name, how, "is not noticed");
            free(harmed.data);
            p.count = count;
            p.tensors[count - 1] = last;
            *t = kept;
        }
    assemble(&p, path);
    bytes again = read_whole(path);
    ck_assert(load_or_leave(&s, again, fresh, stored, "tensors as they were", 0, RBE_OK));
    free(again.data);
    parts_free(&p);
    small_free(&s);
    free(whole.data);
    free(stored.data);
    free(fresh.data);
}
END_TEST

enum { FORGED = 5000 / LESS_DAMAGE };

/* Random texts with right checksums: what is refused has changed nothing, what is loaded can be trained and saved. */
START_TEST(forged_checkpoints_are_refused_or_sound) {
    const sort kind = (sort)_i;
    char path[80];
    small s;
    bytes stored, whole = small_file(kind, &stored);
    strcpy(path, scratch_path("forged"));
    small_make(&s, kind);
    bytes fresh = small_state(&s);
    rbe_rng *rng = rbe_rng_new(78, (uint64_t)_i);
    size_t loaded = 0;
    for (size_t n = 0; n < FORGED; n++) {
        parts p = part(whole);
        const size_t which = rbe_rng_below(rng, (uint32_t)p.texts), length = strlen(p.metadata[which].value);
        bytes b = {realloc((char *)p.metadata[which].value, length + 65), length};
        if (b.count > 0) mutate(&b, length + 64, rng);
        b.data[b.count] = '\0';
        p.metadata[which].value = (char *)b.data;
        if (rbe_tensor_file_save(path, p.tensors, p.count, p.metadata, p.texts, true) != RBE_OK) {
            parts_free(&p); /* not UTF-8 */
            continue;
        }
        if (rbe_checkpoint_load(&s.checkpoint, path) == RBE_OK) {
            rbe_status status = small_step(&s, 4);
            ck_assert(status == RBE_OK || status == RBE_NUMERICAL_INSTABILITY || status == RBE_INVALID_ARGUMENT);
            if (status == RBE_OK) rbe_checkpoint_save(&s.checkpoint, path, 1);
            small_free(&s);
            small_make(&s, kind);
            loaded++;
        } else {
            bytes found = small_state(&s);
            ck_assert_msg(same_bytes(found, fresh), "forgery %zu: %s, and another state: %s", n, rbe_last_error(),
                          b.data);
            free(found.data);
        }
        parts_free(&p);
    }
    ck_assert_uint_gt(loaded, 0);
    rbe_rng_free(rng);
    small_free(&s);
    free(whole.data);
    free(stored.data);
    free(fresh.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

TCase *checkpoint_damage_case(void) {
    TCase *damage = tcase_create("damage");
    tcase_set_timeout(damage, 600);
    tcase_add_checked_fixture(damage, scratch_clear, scratch_clear);
    tcase_add_loop_test(damage, every_truncation_is_refused, 0, SORTS);
    tcase_add_loop_test(damage, every_mutation_is_noticed, 0, PARTS);
    tcase_add_loop_test(damage, forgeries_are_refused, 0, FORGERIES);
    tcase_add_loop_test(damage, tensors_are_checked, 0, SORTS);
    tcase_add_loop_test(damage, forged_checkpoints_are_refused_or_sound, 0, SORTS);
    return damage;
}
