#include "io_support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/blocks.h"
#include "nn/model.h"
#include "support.h"

static char folder[64];

const char *find_python(void) {
    static const char *const candidates[] = {"python3", "/usr/bin/python3"};
    char command[100];
    for (size_t n = 0; n < 2; n++) {
        snprintf(command, sizeof command, "%s -c 'import numpy' 2>/dev/null", candidates[n]);
        if (system(command) == 0) return candidates[n];
    }
    fprintf(stderr, "io: no Python with NumPy was found: its tests are skipped\n");
    return NULL;
}

void scratch_clear(void) {
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) unlink(scratch_path(entry->d_name));
    if (dir) closedir(dir);
}

static void remove_folder(void) {
    scratch_clear();
    rmdir(folder);
}

const char *scratch_path(const char *name) {
    static char path[400];
    if (!folder[0]) {
        strcpy(folder, "/dev/shm/rbe-io-XXXXXX");
        if (!mkdtemp(folder)) {
            strcpy(folder, "/tmp/rbe-io-XXXXXX");
            ck_assert_ptr_nonnull(mkdtemp(folder));
        }
        atexit(remove_folder);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

size_t scratch_count(void) {
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) count += entry->d_name[0] != '.';
    if (dir) closedir(dir);
    return count;
}

bytes read_whole(const char *path) {
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    fseek(file, 0, SEEK_END);
    bytes b = {.count = (size_t)ftell(file)};
    rewind(file);
    b.data = malloc(b.count + 1);
    ck_assert_uint_eq(fread(b.data, 1, b.count, file), b.count);
    fclose(file);
    return b;
}

void write_whole(const char *path, bytes b) {
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(b.data, 1, b.count, file), b.count);
    fclose(file);
}

rbe_tensor_file *open_bytes(bytes b) { return rbe_tensor_file_open_memory(b.data, b.count); }

rbe_model *load_bytes(bytes b) { return rbe_model_load_memory(b.data, b.count); }

bytes saved(const rbe_model *model, rbe_store store, rbe_store_positions positions) {
    const char *path = scratch_path("saved");
    ck_assert_ok(rbe_model_save(model, path, &(rbe_save_options){store, positions}));
    bytes b = read_whole(path);
    unlink(path);
    return b;
}

void rename_checksums(bytes b) {
    static const char *const keys[] = {"\"rbe.crc32\"", "\"rbe.data_crc32\""};
    for (size_t n = 0; n < 2; n++) {
        uint8_t *at = memmem(b.data, b.count, keys[n], strlen(keys[n]));
        ck_assert_ptr_nonnull(at);
        memcpy(at + 1, "xyz", 3);
    }
}

void mutate(bytes *b, size_t room, rbe_rng *rng) {
    uint32_t times = 1 + rbe_rng_below(rng, 3);
    for (uint32_t n = 0; n < times; n++) {
        /* Half of the damage goes to the header. */
        uint32_t range = (uint32_t)(rbe_rng_below(rng, 2) || b->count < 1200 ? b->count : 1200);
        uint32_t at = rbe_rng_below(rng, range), length = 1 + rbe_rng_below(rng, 8);
        if (length > b->count - at) length = (uint32_t)b->count - at;
        switch (rbe_rng_below(rng, 6)) {
        case 0: b->data[at] ^= (uint8_t)(1u << rbe_rng_below(rng, 8)); break;
        case 1: b->data[at] = (uint8_t)rbe_rng_below(rng, 256); break;
        case 2: b->data[at] = (uint8_t) "0123456789,:[]{}\"\\ e.-"[rbe_rng_below(rng, 22)]; break;
        case 3: memmove(b->data + rbe_rng_below(rng, (uint32_t)b->count - length + 1), b->data + at, length); break;
        case 4:
            if (b->count + length > room) break;
            memmove(b->data + at + length, b->data + at, b->count - at);
            b->count += length;
            break;
        default:
            memmove(b->data + at, b->data + at + length, b->count - at - length);
            b->count -= length;
            if (b->count == 0) b->count = 1;
        }
    }
}

rbe_model *small_model(rbe_alpha_mode alpha, size_t group, const char *row_transform, const char *column_transform) {
    rbe_model *model = rbe_model_new();
    const rbe_linear_options options = {.block = 8,
                                        .ratio = 4,
                                        .group = group,
                                        .alpha = alpha,
                                        .row_transform = rbe_transform_named(row_transform),
                                        .column_transform = rbe_transform_named(column_transform),
                                        .seed = 0xfedcba9876543210};
    rbe_model_add(model, rbe_linear_new(75, 50, &options));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dropout_new(0.1f));
    rbe_model_add(model, rbe_dense_new(50, 7, &(rbe_dense_options){.name = "t\xc3\xaate \"7\"", .no_bias = true}));
    rbe_model_apply(model, rbe_softmax);
    ck_assert_ok(rbe_model_status(model));
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) fill_normal(param->value, param->count, 0.3, n);
    return model;
}

rbe_model *grown_model(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
    ((rbe_blocks *)rbe_linear_blocks(rbe_model_layer(model, 0)))->drawn = false;
    return model;
}

rbe_model *nested_model(void) {
    const rbe_linear_options options = {.name = "up", .block = 8, .ratio = 2, .seed = 5};
    rbe_model *model = rbe_model_new();
    rbe_layer *inner = rbe_sequential_new(NULL), *up = rbe_linear_new(12, 12, &options);
    rbe_layer_add(inner, up);
    rbe_layer_add(inner, rbe_operation_new(rbe_tanh));
    rbe_layer_add(inner, up); /* again, inside the same container */
    rbe_layer_add(inner, rbe_dense_new(12, 12, &(rbe_dense_options){.seed = 1}));
    rbe_layer *block = rbe_residual_new(inner, "block");
    rbe_model_add(model, block);
    rbe_model_add(model, rbe_repeat_new(rbe_residual_new(rbe_dense_new(12, 12, NULL), "step"), 3, NULL));
    rbe_model_add(model, block);
    rbe_model_add(model, rbe_dense_new(12, 5, &(rbe_dense_options){.name = "head", .seed = 2}));
    ck_assert_ok(rbe_model_status(model));
    return model;
}

/* ---- forged files -------------------------------------------------------------------------------------------- */

contents take_apart(bytes b) {
    rbe_tensor_file *file = open_bytes(b);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    contents c = {.version = strcmp(rbe_tensor_file_metadata(file, "rbe.version"), "2") == 0 ? "2" : "1"};
    strcpy(c.stages, rbe_tensor_file_metadata(file, "rbe.stages"));
    const rbe_tensor_info *info;
    for (; (info = rbe_tensor_file_at(file, c.count)); c.count++) {
        void *values = malloc(info->bytes + 1);
        ck_assert_ok(rbe_tensor_file_read(file, c.count, values));
        c.tensors[c.count] =
            (rbe_stored_tensor){.name = strdup(info->name), .dtype = info->dtype, .dims = info->dims, .values = values};
        memcpy(c.tensors[c.count].shape, info->shape, sizeof info->shape);
    }
    rbe_tensor_file_close(file);
    return c;
}

bytes put_together(const contents *c) {
    const rbe_metadata metadata[] = {{"rbe.format", "model"}, {"rbe.version", c->version}, {"rbe.stages", c->stages}};
    const char *path = scratch_path("forged");
    ck_assert_ok(rbe_tensor_file_save(path, c->tensors, c->count, metadata, 3, true));
    return read_whole(path);
}

void discard(contents *c) {
    for (size_t n = 0; n < c->count; n++) {
        free((char *)c->tensors[n].name);
        free((void *)c->tensors[n].values);
    }
}

rbe_model *load_contents(const contents *c) {
    bytes b = put_together(c);
    rbe_model *model = load_bytes(b);
    free(b.data);
    return model;
}

void forge(contents *c, const char *from, const char *to) {
    char *at = strstr(c->stages, from);
    ck_assert_msg(at != NULL, "%s is not in %s", from, c->stages);
    ck_assert_uint_lt(strlen(c->stages) + strlen(to), sizeof c->stages);
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
}

/* ---- what is the same ---------------------------------------------------------------------------------------- */

static bool same_blocks(const rbe_blocks *a, const rbe_blocks *b) {
    if (!a || !b) return a == b;
    bool same = a->out == b->out && a->in == b->in && a->output_side.length == b->output_side.length &&
                a->input_side.length == b->input_side.length && a->output_side.overlap == b->output_side.overlap &&
                a->input_side.overlap == b->input_side.overlap && a->input_side.height == b->input_side.height &&
                a->block == b->block && a->group == b->group && a->row_transform == b->row_transform &&
                a->column_transform == b->column_transform && a->entries == b->entries &&
                a->value_count == b->value_count && !a->alpha == !b->alpha &&
                memcmp(a->list_start, b->list_start, (a->groups * a->block + 1) * sizeof *a->list_start) == 0;
    for (size_t k = 0; same && k < a->entries; k++) same = rbe_column_at(a, k) == rbe_column_at(b, k);
    return same;
}

bool same_matrices(const rbe_blocks *a, const rbe_blocks *b) {
    return same_blocks(a, b) && memcmp(a->values, b->values, a->value_count * sizeof *a->values) == 0 &&
           (!a->alpha ||
            memcmp(a->alpha, b->alpha, RBE_BASIS_COUNT * a->grid_rows * a->grid_cols * sizeof(float)) == 0);
}

/* The options of a layer as text. */
typedef struct text_writer {
    rbe_writer base;
    char text[400];
} text_writer;

static rbe_status note_number(rbe_writer *self, const char *name, double value) {
    text_writer *w = (text_writer *)self;
    size_t length = strlen(w->text);
    snprintf(w->text + length, sizeof w->text - length, "%s=%.17g;", name, value);
    return RBE_OK;
}

static rbe_status note_text(rbe_writer *self, const char *name, const char *value) {
    text_writer *w = (text_writer *)self;
    size_t length = strlen(w->text);
    snprintf(w->text + length, sizeof w->text - length, "%s=%s;", name, value);
    return RBE_OK;
}

static bool same_options(const rbe_layer *a, const rbe_layer *b) {
    text_writer of_a = {{note_number, note_text}, ""}, of_b = of_a;
    if (!a->type->write) return true;
    ck_assert_int_eq(a->type->write(a, &of_a.base), RBE_OK);
    ck_assert_int_eq(b->type->write(b, &of_b.base), RBE_OK);
    return strcmp(of_a.text, of_b.text) == 0;
}

bool same_layers(const rbe_layer *x, const rbe_layer *y) {
    if (x->type != y->type || strcmp(x->path, y->path) != 0 || x->in != y->in || x->out != y->out ||
        x->param_count != y->param_count || x->child_count != y->child_count || x->places != y->places ||
        !same_options(x, y) || !same_blocks(rbe_linear_blocks(x), rbe_linear_blocks(y)))
        return false;
    for (size_t k = 0; k < x->param_count; k++)
        if (x->params[k].count != y->params[k].count || x->params[k].bits != y->params[k].bits ||
            strcmp(x->params[k].name, y->params[k].name) != 0 ||
            memcmp(x->params[k].value, y->params[k].value, x->params[k].count * sizeof(float)) != 0)
            return false;
    for (size_t k = 0; k < x->child_count; k++)
        if (!same_layers(x->children[k], y->children[k])) return false;
    return true;
}

bool same_models(const rbe_model *a, const rbe_model *b) { return same_layers(a->root, b->root); }

void assert_failed(rbe_status status, const char *word) {
    const char *text = rbe_last_error();
    ck_assert_msg(rbe_last_status() == status && strstr(text, word), "expected %s with \"%s\", found %s: %s",
                  rbe_status_name(status), word, rbe_status_name(rbe_last_status()), text);
}

size_t assert_mutations_noticed(bytes original, rbe_model *(*load)(bytes), const char *word, int count, uint64_t seed,
                                uint64_t stream) {
    rbe_model *expected = load(original);
    const size_t room = original.count + 64;
    size_t loaded = 0;
    bytes b = {malloc(room), 0};
    rbe_rng *rng = rbe_rng_new(seed, stream);
    for (int n = 0; n < count; n++) {
        b.count = original.count;
        memcpy(b.data, original.data, b.count);
        mutate(&b, room, rng);
        const bool same = b.count == original.count && memcmp(b.data, original.data, b.count) == 0;
        rbe_model *model = load(b);
        if (model) loaded++;
        ck_assert_msg(!model || (same && same_models(model, expected)), "mutation %d was not noticed", n);
        if (!model) assert_failed(RBE_BAD_FORMAT, word);
        rbe_model_free(model);
    }
    rbe_rng_free(rng);
    rbe_model_free(expected);
    free(b.data);
    return loaded;
}

void assert_storing_survives(rbe_model *(*make)(void), rbe_store store) {
    bytes b = {0};
    bool reached = true;
    for (size_t at = 0; reached; at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, 0);
        rbe_model *model = make();
        if (!b.data) b = saved(model, store, RBE_POSITIONS_DELTA);
        allocator.fail_at = allocator.requests + at;
        size_t size = 0;
        rbe_status status = rbe_model_stored_bytes(model, NULL, &size);
        rbe_model *again = load_bytes(b);
        bool failed = status != RBE_OK || !again;
        if (failed) ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
        rbe_model_free(again);
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
        ck_assert(failed == (at > 0 && reached));
        reached = reached || at == 0;
    }
    free(b.data);
}

rbe_model *load_forgery(bytes file, const char *from, const char *to, const char *reason) {
    contents c = take_apart(file);
    forge(&c, from, to);
    rbe_model *model = load_contents(&c);
    if (reason) {
        ck_assert_msg(!model, "%s for %s", to, from);
        assert_failed(RBE_BAD_FORMAT, reason);
    }
    discard(&c);
    return model;
}
