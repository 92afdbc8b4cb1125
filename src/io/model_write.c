/* Models into safetensors files: docs/format.md. The stages, as JSON text in the metadata, say what the tensors mean. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/layer_code.h"
#include "io/metadata.h"
#include "io/model_file.h"
#include "io/store.h"
#include "nn/model.h"

/* *text is freed by cJSON_free. */
static rbe_status describe_stages(rbe_pack *pack, const rbe_layer *root, const rbe_save_options *options, char **text) {
    cJSON *list = cJSON_CreateArray();
    rbe_status status = RBE_OK;
    for (size_t n = 0; list && status == RBE_OK && n < root->child_count; n++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", n);
        cJSON *json = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(list, json)) break;
        status = rbe_pack_layer(pack, (rbe_owner){"stage", number}, root->children[n], 0, options, json);
    }
    bool whole = status == RBE_OK && (size_t)cJSON_GetArraySize(list) == root->child_count;
    if (whole) *text = cJSON_PrintUnformatted(list);
    cJSON_Delete(list);
    if (status == RBE_OK && !*text) return rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for the stages' description");
    return status;
}

/* What a model's file is made of. */
typedef struct parts {
    rbe_pack pack;
    char *stages;
    rbe_metadata *metadata;
    size_t metadata_count;
} parts;

static void parts_free(parts *p) {
    rbe_free(p->metadata);
    cJSON_free(p->stages);
    rbe_pack_forget_ways(&p->pack);
    rbe_pack_free(&p->pack);
}

/* To be freed on failure, too. */
static rbe_status take_apart(const rbe_model *model, const rbe_save_options *options, parts *p) {
    static const rbe_save_options defaults = {0};
    const rbe_save_options *o = options ? options : &defaults;
    *p = (parts){0};
    RBE_TRY(rbe_model_status(model));
    if (!rbe_store_type_of(o->store) || o->positions > RBE_POSITIONS_SEED)
        return rbe_fail(RBE_INVALID_ARGUMENT, "save options: the store or the positions are unknown");
    RBE_TRY(rbe_pack_new(&p->pack, rbe_layer_parts(model->root)));
    RBE_TRY(describe_stages(&p->pack, model->root, o, &p->stages));
    rbe_order_tensors(p->pack.tensors, p->pack.count);
    const rbe_metadata own[] = {{RBE_FORMAT_KEY, RBE_MODEL_FORMAT},
                                {RBE_VERSION_KEY, p->pack.has_packed ? RBE_PACKED_VERSION_TEXT : RBE_VERSION_TEXT},
                                {RBE_STAGES_KEY, p->stages}};
    return rbe_metadata_pack(model, own, 3, &p->metadata, &p->metadata_count);
}

rbe_status rbe_model_save(const rbe_model *model, const char *path, const rbe_save_options *options) {
    if (!path) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_save: the path is NULL");
    parts p;
    rbe_status status = take_apart(model, options, &p);
    if (status == RBE_OK)
        status = rbe_tensors_write(path, p.pack.tensors, p.pack.count, p.metadata, p.metadata_count, true);
    parts_free(&p);
    return status;
}

rbe_status rbe_model_stored_bytes(const rbe_model *model, const rbe_save_options *options, size_t *bytes) {
    if (!bytes) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_stored_bytes: the result is NULL");
    parts p;
    rbe_status status = take_apart(model, options, &p);
    if (status == RBE_OK)
        status = rbe_tensors_bytes(p.pack.tensors, p.pack.count, p.metadata, p.metadata_count, true, bytes);
    parts_free(&p);
    return status;
}
