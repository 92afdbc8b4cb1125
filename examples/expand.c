/* The way back to PyTorch: writes a file of this library, a model or tensors with compressed matrices among them, as
 * a plain safetensors file of dense float tensors. A layer called fc1 becomes fc1.weight and fc1.bias, one inside others
 * block.0.fc1.weight, and one that is used in several places has the name of the first; compressed matrices keep their
 * names, and all that is not compressed is copied.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensors.h"

/* The tensors and metadata of the new file. Names and values are the expansion's own. */
typedef struct expansion {
    rbe_stored_tensor *tensors;
    rbe_metadata *metadata; /* texts of the model or file */
    size_t count, capacity, metadata_count;
} expansion;

/* ---- tensors ------------------------------------------------------------------------------------------------- */

static rbe_stored_tensor *next_tensor(expansion *e, const char *name, const char *part) {
    if (e->count == e->capacity) {
        e->capacity = 2 * e->capacity + 8;
        e->tensors = example_need(realloc(e->tensors, e->capacity * sizeof *e->tensors));
    }
    char *full = example_take(strlen(name) + strlen(part) + 1, 1);
    rbe_stored_tensor *t = &e->tensors[e->count++];
    *t = (rbe_stored_tensor){.name = strcat(strcpy(full, name), part), .dtype = RBE_F32};
    return t;
}

/* Takes the values over. */
static void add_matrix(expansion *e, const char *name, const char *part, float *values, size_t out, size_t in) {
    rbe_stored_tensor *t = next_tensor(e, name, part);
    t->dims = 2;
    t->shape[0] = out;
    t->shape[1] = in;
    t->values = values;
    printf("%-32s %6zu x %-6zu\n", t->name, out, in);
}

static float *copy_of(const rbe_param *param) {
    float *copy = example_take(param->count, sizeof *copy);
    return memcpy(copy, param->value, param->count * sizeof *copy);
}

static void add_vector(expansion *e, const char *name, const char *part, const rbe_param *param) {
    rbe_stored_tensor *t = next_tensor(e, name, part);
    t->dims = 1;
    t->shape[0] = param->count;
    t->values = copy_of(param);
}

/* ---- a model ------------------------------------------------------------------------------------------------- */

/* Whether there are tensors "name.part". */
static bool is_taken(const expansion *e, const char *name) {
    size_t length = strlen(name);
    for (size_t n = 0; n < e->count; n++) {
        const char *dot = strrchr(e->tensors[n].name, '.');
        if (strncmp(e->tensors[n].name, name, length) == 0 && dot == e->tensors[n].name + length) return true;
    }
    return false;
}

enum { NAME_SIZE = RBE_PATH_SIZE + 24 };

/* The names on the way to the layer, "block.0.up"; behind them _2, _3, .. where others have those. */
static void name_layer(const expansion *e, const rbe_layer *layer, char name[NAME_SIZE]) {
    const char *path = rbe_layer_path(layer);
    size_t length = strlen(path);
    bool unnamed = length == 0 || path[length - 1] == '.';
    char given[RBE_PATH_SIZE + RBE_NAME_SIZE];
    snprintf(given, sizeof given, "%s%s", path, unnamed ? rbe_layer_kind(layer) : "");
    snprintf(name, NAME_SIZE, "%.180s", given);
    for (size_t n = 2; is_taken(e, name); n++) snprintf(name, NAME_SIZE, "%.160s_%zu", given, n);
}

static void expand_layer(expansion *e, const rbe_layer *layer) {
    char name[NAME_SIZE], part[RBE_PATH_SIZE];
    name_layer(e, layer, name);
    size_t first = 0;
    if (rbe_linear_blocks(layer)) {
        add_matrix(e, name, ".weight", dense_matrix(layer), rbe_layer_outputs(layer), rbe_layer_inputs(layer));
        first = 1;
    }
    const rbe_param *param;
    for (size_t k = first; (param = rbe_layer_param(layer, k)); k++) {
        if (rbe_linear_blocks(layer) && strcmp(param->part, "alpha") == 0) continue; /* a part of the matrix */
        snprintf(part, sizeof part, ".%s", param->part);
        if (param->rows > 0)
            add_matrix(e, name, part, copy_of(param), param->rows, param->count / param->rows);
        else
            add_vector(e, name, part, param);
    }
}

static void expand_model(expansion *e, const rbe_model *model) {
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (rbe_layer_param(layer, 0)) expand_layer(e, layer);
    const rbe_metadata *pair;
    while ((pair = rbe_model_metadata_at(model, e->metadata_count))) {
        e->metadata = example_need(realloc(e->metadata, (e->metadata_count + 1) * sizeof *e->metadata));
        e->metadata[e->metadata_count++] = *pair;
    }
}

/* ---- matrices among other tensors ---------------------------------------------------------------------------- */

/* Whether a tensor is a part of a compressed matrix. */
static bool belongs_to_matrix(const rbe_tensor_file *file, const char *tensor) {
    static const char *const parts[] = {"values", "scales", "alpha", "lists", "columns", "deltas"};
    const char *dot = strrchr(tensor, '.'), *name;
    for (size_t n = 0; dot && (name = rbe_tensor_file_matrix(file, n)); n++) {
        if (strlen(name) != (size_t)(dot - tensor) || strncmp(name, tensor, strlen(name)) != 0) continue;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            if (strcmp(dot + 1, parts[p]) == 0) return true;
    }
    return false;
}

static void copy_tensor(expansion *e, const rbe_tensor_file *file, size_t n) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    rbe_stored_tensor *t = next_tensor(e, info->name, "");
    t->dtype = info->dtype;
    t->dims = info->dims;
    memcpy(t->shape, info->shape, sizeof t->shape);
    t->source = file;
    t->source_index = n;
    if (tensor_is_matrix(info)) printf("%-32s %6zu x %-6zu  copied\n", info->name, info->shape[0], info->shape[1]);
}

static void expand_tensors(expansion *e, const rbe_tensor_file *file) {
    const char *name;
    for (size_t n = 0; (name = rbe_tensor_file_matrix(file, n)); n++) {
        rbe_blocks *blocks;
        example_require(rbe_tensor_file_read_blocks(file, name, &blocks));
        rbe_blocks_info info = rbe_blocks_describe(blocks);
        float *values = example_take(info.out * info.in, sizeof *values);
        example_require(rbe_decompress(blocks, values));
        rbe_blocks_free(blocks);
        add_matrix(e, name, "", values, info.out, info.in);
    }
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++)
        if (!belongs_to_matrix(file, info->name)) copy_tensor(e, file, n);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static void save(expansion *e, const rbe_tensor_file *file, const char *out) {
    /* What PyTorch's tools look for. */
    const char *format = rbe_tensor_file_metadata(file, "format");
    bool has_format = false;
    for (size_t n = 0; n < e->metadata_count; n++) has_format |= strcmp(e->metadata[n].key, "format") == 0;
    if (!has_format) {
        e->metadata = example_need(realloc(e->metadata, (e->metadata_count + 1) * sizeof *e->metadata));
        e->metadata[e->metadata_count++] = (rbe_metadata){"format", format ? format : "pt"};
    }
    example_require(rbe_tensor_file_save(out, e->tensors, e->count, e->metadata, e->metadata_count, false));
    for (size_t n = 0; n < e->count; n++) {
        free((char *)e->tensors[n].name);
        free((void *)e->tensors[n].values);
    }
    free(e->tensors);
    free(e->metadata);
}

int main(int argc, char **argv) {
    const char *in = NULL, *out = NULL;
    const example_option options[] = {
        {"IN", EXAMPLE_FILE, &in, NULL, "a model file, or another safetensors file of this library", 0, 0},
        {"out", EXAMPLE_TEXT, &out, "FILE", "the safetensors file to write", 0, 0}};
    example_parse(argc, argv, "Makes compressed matrices dense again: from this library's files to PyTorch's.", options,
                  sizeof options / sizeof *options);
    tensor_check_output(out, in);
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(in));
    const char *format = rbe_tensor_file_metadata(file, "rbe.format");
    rbe_model *model = NULL;
    expansion e = {0};
    printf("%-32s %15s\n", "matrix", "out x in");
    if (format && strcmp(format, "model") == 0)
        expand_model(&e, model = example_need(rbe_model_load(in)));
    else
        expand_tensors(&e, file);
    save(&e, file, out);
    rbe_model_free(model);
    rbe_tensor_file_close(file);
    return 0;
}
