/* Weights from elsewhere: dense tensors of a file, called as PyTorch calls them, become layers, or the parameters of a
 * model.
 *
 * A model is filled in three passes: all names and shapes are checked; all values are read and matrices compressed into
 * memory of their own; then nothing can fail any more, and they are put into their places.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "codec/blocks.h"
#include "io/safetensors.h"
#include "nn/linear.h"
#include "nn/model.h"

enum { NAME_SIZE = RBE_PATH_SIZE + RBE_NAME_SIZE };

/* ---- tensors ------------------------------------------------------------------------------------------------- */

/* The tensor "owner.part"; `count` of the file's if there is none. */
static size_t find_part(const rbe_tensor_file *file, const char *owner, const char *part, char name[NAME_SIZE]) {
    snprintf(name, NAME_SIZE, "%s%s%s", owner, *owner ? "." : "", part);
    return rbe_tensor_file_find(file, name);
}

static rbe_status missing(const rbe_tensor_file *file, const char *name) {
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: tensor %s is missing", file->source.name, name);
}

static rbe_status check_shape(const rbe_tensor_file *file, size_t n, size_t dims, const size_t *shape) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    if (info->dims == dims && memcmp(info->shape, shape, dims * sizeof *shape) == 0) return RBE_OK;
    char found[RBE_FILE_MAX_DIMS * 24] = "";
    for (size_t d = 0, at = 0; d < info->dims; d++)
        at += (size_t)snprintf(found + at, sizeof found - at, "%s%zu", d ? ", " : "", info->shape[d]);
    if (dims == 2)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: tensor %s: expected the shape [%zu, %zu], found [%s]",
                        file->source.name, info->name, shape[0], shape[1], found);
    return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: tensor %s: expected the shape [%zu], found [%s]",
                    file->source.name, info->name, shape[0], found);
}

/* *values is the caller's, also on failure. */
static rbe_status read_finite(const rbe_tensor_file *file, size_t n, float **values) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    *values = rbe_alloc(info->count, sizeof **values);
    if (!*values) return RBE_INSUFFICIENT_MEMORY;
    RBE_TRY(rbe_tensor_file_read_f32(file, n, *values));
    size_t bad = rbe_first_nonfinite(*values, info->count);
    if (bad == info->count) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: tensor %s: value %zu is %g", file->source.name, info->name, bad,
                    (double)(*values)[bad]);
}

/* ---- single layers ------------------------------------------------------------------------------------------- */

/* The matrix and bias of a linear layer, freed by its owner. */
typedef struct linear_weights {
    size_t in, out;
    float *weights, *bias; /* bias NULL: none */
} linear_weights;

static rbe_status read_linear(const rbe_tensor_file *file, const char *name, linear_weights *w) {
    *w = (linear_weights){0};
    if (!file || !name || strlen(name) >= RBE_PATH_SIZE)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a layer from a file: expected a file and a name of fewer than %d bytes",
                        RBE_PATH_SIZE);
    char full[NAME_SIZE];
    size_t none = rbe_tensor_file_count(file), weight = find_part(file, name, "weight", full);
    if (weight == none) return missing(file, full);
    const rbe_tensor_info *info = rbe_tensor_file_at(file, weight);
    if (info->dims != 2)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: tensor %s: expected a matrix, found %zu dimensions",
                        file->source.name, info->name, info->dims);
    w->out = info->shape[0];
    w->in = info->shape[1];
    size_t bias = find_part(file, name, "bias", full);
    if (bias != none) RBE_TRY(check_shape(file, bias, 1, &w->out));
    RBE_TRY(read_finite(file, weight, &w->weights));
    return bias != none ? read_finite(file, bias, &w->bias) : RBE_OK;
}

static void linear_weights_free(linear_weights *w) {
    rbe_free(w->weights);
    rbe_free(w->bias);
}

rbe_layer *rbe_dense_from_file(const rbe_tensor_file *file, const char *name) {
    linear_weights w;
    rbe_layer *layer = NULL;
    if (read_linear(file, name, &w) == RBE_OK) layer = rbe_dense_from_weights(w.in, w.out, w.weights, w.bias, name);
    linear_weights_free(&w);
    return layer;
}

rbe_layer *rbe_linear_from_file(const rbe_tensor_file *file, const char *name, const rbe_compress_options *options,
                                rbe_compress_report *report) {
    linear_weights w;
    rbe_blocks *blocks = NULL;
    rbe_layer *layer = NULL;
    if (read_linear(file, name, &w) == RBE_OK &&
        rbe_compress_weights(&blocks, w.bias, report, w.weights, w.out, w.in, options) == RBE_OK)
        layer = rbe_linear_from_blocks(blocks, w.bias, w.bias ? w.out : 0, &(rbe_linear_options){.name = name});
    linear_weights_free(&w);
    return layer;
}

/* ---- a model: what its parameters take ----------------------------------------------------------------------- */

/* A parameter, or a compressed matrix, and what it will become. */
typedef struct place {
    rbe_layer *layer;
    rbe_param *param; /* NULL: the compressed matrix */
    size_t tensor;
    float *values;
    rbe_blocks *blocks;
} place;

typedef struct filling {
    const rbe_tensor_file *file;
    bool allow_missing;
    bool *used;
    place *places;
    size_t count;
    rbe_status status;
} filling;

static void filling_free(filling *f) {
    for (size_t n = 0; n < f->count; n++) {
        rbe_free(f->places[n].values);
        rbe_blocks_free(f->places[n].blocks);
    }
    rbe_free(f->places);
    rbe_free(f->used);
}

static rbe_status add_place(filling *f, rbe_layer *layer, rbe_param *param, const char *part, size_t dims,
                            const size_t *shape) {
    char name[NAME_SIZE];
    size_t tensor = find_part(f->file, layer->path, part, name);
    if (tensor == rbe_tensor_file_count(f->file)) return f->allow_missing ? RBE_OK : missing(f->file, name);
    f->used[tensor] = true;
    f->places[f->count++] = (place){.layer = layer, .param = param, .tensor = tensor};
    return check_shape(f->file, tensor, dims, shape);
}

static rbe_status add_places(filling *f, rbe_layer *layer) {
    const rbe_linear_layer *linear = rbe_layer_as_linear(layer);
    if (linear) RBE_TRY(add_place(f, layer, NULL, "weight", 2, (const size_t[]){layer->out, layer->in}));
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        if (linear && param != linear->bias) continue;
        const size_t columns = param->rows ? param->count / param->rows : 0, shape[2] = {param->rows, columns};
        RBE_TRY(param->rows ? add_place(f, layer, param, param->part, 2, shape)
                            : add_place(f, layer, param, param->part, 1, &param->count));
    }
    return RBE_OK;
}

static bool see_places(void *user, rbe_layer *layer) {
    filling *f = user;
    f->status = add_places(f, layer);
    return f->status == RBE_OK;
}

static bool count_params(void *user, rbe_layer *layer) {
    *(size_t *)user += layer->param_count;
    return true;
}

static rbe_status find_places(filling *f, const rbe_model *model, bool allow_left_over) {
    size_t params = 0;
    rbe_layer_walk(model->root, count_params, &params);
    f->places = rbe_alloc_zeroed(params, sizeof *f->places);
    f->used = rbe_alloc_zeroed(rbe_tensor_file_count(f->file), sizeof *f->used);
    if (!f->places || !f->used) return RBE_INSUFFICIENT_MEMORY;
    rbe_layer_walk(model->root, see_places, f);
    RBE_TRY(f->status);
    const rbe_tensor_info *info;
    for (size_t n = 0; !allow_left_over && (info = rbe_tensor_file_at(f->file, n)); n++)
        if (!f->used[n])
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: tensor %s belongs to no parameter of the model",
                            f->file->source.name, info->name);
    return RBE_OK;
}

/* ---- a model: values ----------------------------------------------------------------------------------------- */

/* As many values, in the same blocks. */
static rbe_compress_options geometry_of(const rbe_blocks *b) {
    const rbe_blocks_info info = rbe_blocks_describe(b);
    const double values = (double)(info.coefficients + info.alphas), all = (double)info.out * (double)info.in;
    return (rbe_compress_options){.block = info.block,
                                  .ratio = values < all ? all / (values + 0.5) : 1.0,
                                  .row_transform = info.row_transform,
                                  .column_transform = info.column_transform,
                                  .alpha = info.has_alpha ? RBE_ALPHA_ON : RBE_ALPHA_OFF,
                                  .group = info.group,
                                  .overlap = info.overlap,
                                  .image_height = info.image_height,
                                  .image_width = info.image_width};
}

static rbe_status prepare(const filling *f, place *p) {
    RBE_TRY(read_finite(f->file, p->tensor, &p->values));
    if (p->param) return RBE_OK;
    const rbe_compress_options options = geometry_of(rbe_layer_as_linear(p->layer)->blocks);
    rbe_status status = rbe_compress(&p->blocks, p->values, p->layer->out, p->layer->in, &options);
    rbe_free(p->values);
    p->values = NULL;
    if (status == RBE_OK) return RBE_OK;
    char reason[256];
    snprintf(reason, sizeof reason, "%s", rbe_last_error());
    return rbe_fail(status, "%s: %s", p->layer->path, reason);
}

static void put(const place *p) {
    if (p->param)
        memcpy(p->param->value, p->values, p->param->count * sizeof *p->values);
    else
        rbe_linear_exchange_blocks(rbe_layer_as_linear(p->layer), p->blocks);
}

rbe_status rbe_model_fill(rbe_model *model, const rbe_tensor_file *file, const rbe_fill_options *options) {
    static const rbe_fill_options defaults = {0};
    const rbe_fill_options *o = options ? options : &defaults;
    RBE_TRY(rbe_model_status(model));
    if (!file) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_fill: the file is NULL");
    filling f = {.file = file, .allow_missing = o->allow_missing};
    rbe_status status = find_places(&f, model, o->allow_left_over);
    for (size_t n = 0; status == RBE_OK && n < f.count; n++) status = prepare(&f, &f.places[n]);
    for (size_t n = 0; status == RBE_OK && n < f.count; n++) put(&f.places[n]);
    filling_free(&f);
    return status;
}
