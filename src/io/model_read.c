/* Models out of safetensors files: docs/format.md. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/layer_code.h"
#include "io/metadata.h"
#include "io/model_file.h"
#include "nn/model.h"

static rbe_status check_used(const rbe_tensor_file *file, const bool *used) {
    for (size_t n = 0; n < file->count; n++)
        if (!used[n])
            return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s belongs to no stage", file->source.name,
                            file->entries[n].info.name);
    return RBE_OK;
}

static rbe_status add_stages(rbe_model *model, const rbe_tensor_file *file, const cJSON *stages, bool *used) {
    const cJSON *json;
    size_t number = 0;
    rbe_room room = rbe_room_of(file);
    const rbe_unpack texts = {.file = file, .owner = {"its", "metadata"}, .room = &room, .times = 1};
    RBE_TRY(rbe_metadata_unpack(model, &texts));
    rbe_tree tree = {.open = {model->root}};
    rbe_status status = RBE_OK;
    cJSON_ArrayForEach(json, stages) {
        char name[24];
        snprintf(name, sizeof name, "%zu", number++);
        rbe_unpack u = {.file = file, .used = used, .owner = {"stage", name}, .json = json, .room = &room, .times = 1};
        status = rbe_unpack_layer(&u, &tree);
        if (status != RBE_OK) break;
    }
    rbe_free(tree.runs);
    if (status == RBE_OK && rbe_may_be_packed(file) && tree.packed_count == 0)
        return rbe_fail(RBE_BAD_FORMAT, "%s: version " RBE_PACKED_VERSION_TEXT " of the format, but nothing is packed",
                        file->source.name);
    return status == RBE_OK ? check_used(file, used) : status;
}

static rbe_status read_model(rbe_model *model, const rbe_tensor_file *file) {
    RBE_TRY(rbe_check_format(file, RBE_MODEL_FORMAT, true));
    const char *text = rbe_tensor_file_metadata(file, RBE_STAGES_KEY);
    cJSON *stages;
    RBE_TRY(rbe_json_parse(&stages, text ? text : "", text ? strlen(text) : 0, RBE_STAGES_DEPTH, file->source.name,
                           rbe_file_room(file->source.bytes)));
    bool *used = rbe_alloc_zeroed(file->count, sizeof *used);
    rbe_status status = used ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK && !cJSON_IsArray(stages))
        status = rbe_fail(RBE_BAD_FORMAT, "%s: " RBE_STAGES_KEY " is not a list", file->source.name);
    if (status == RBE_OK) status = add_stages(model, file, stages, used);
    rbe_free(used);
    cJSON_Delete(stages);
    return status;
}

rbe_model *rbe_model_from_file(const rbe_tensor_file *file) {
    rbe_model *model = rbe_model_new();
    if (model && read_model(model, file) == RBE_OK) return model;
    rbe_model_free(model);
    return NULL;
}

/* NULL where opening has failed. Closes the file. */
static rbe_model *load_from(rbe_tensor_file *file) {
    rbe_model *model = file ? rbe_model_from_file(file) : NULL;
    rbe_tensor_file_close(file);
    return model;
}

rbe_model *rbe_model_load(const char *path) { return load_from(rbe_tensor_file_open(path)); }

rbe_model *rbe_model_load_memory(const void *bytes, size_t count) {
    return load_from(rbe_tensor_file_open_memory(bytes, count));
}

rbe_model *rbe_model_load_stream(FILE *stream) { return load_from(rbe_tensor_file_open_stream(stream)); }
