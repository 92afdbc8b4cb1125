/* Parameters into tensors and out of them. A layer is known by its number in the tree, a parameter by its number in the
 * layer: names are for people, may be cut, and are compared.
 */
#include "train/param_code.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "io/layer_code.h"
#include "io/state_code.h"
#include "nn/model.h"
#include "optim/optim_internal.h"

/* ---- whose they are ------------------------------------------------------------------------------------------ */

static bool count_layer(void *user, rbe_layer *layer) {
    (void)layer;
    ++*(size_t *)user;
    return true;
}

static bool list_layer(void *user, rbe_layer *layer) {
    rbe_param_list *list = user;
    list->layers[list->layer_count++] = layer;
    return true;
}

static bool is_of_model(const rbe_param_list *list, const rbe_param *param) {
    for (size_t n = 0; n < list->layer_count; n++)
        for (size_t k = 0; k < list->layers[n]->param_count; k++)
            if (&list->layers[n]->params[k] == param) return true;
    return false;
}

rbe_status rbe_param_list_make(rbe_param_list *list, const rbe_model *model, const rbe_optim *optim) {
    *list = (rbe_param_list){.optim = optim};
    size_t count = 0, most = optim ? optim->count : 0;
    rbe_layer_walk(model->root, count_layer, &count);
    list->layers = rbe_alloc(count, sizeof(rbe_layer *));
    list->beside = rbe_alloc(most, sizeof(rbe_param *));
    if (!list->layers || !list->beside) return RBE_INSUFFICIENT_MEMORY;
    rbe_layer_walk(model->root, list_layer, list);
    for (size_t n = 0; n < most; n++)
        if (!is_of_model(list, optim->slots[n].param)) list->beside[list->beside_count++] = optim->slots[n].param;
    return RBE_OK;
}

void rbe_param_list_free(rbe_param_list *list) {
    rbe_free(list->layers);
    rbe_free(list->beside);
    *list = (rbe_param_list){0};
}

/* "0.2", a parameter of a layer; its tensors are called so. */
enum { NUMBER_SIZE = 48 };

/* ---- out of memory ------------------------------------------------------------------------------------------- */

static size_t parts_of(const rbe_param *param) {
    size_t parts = 1;
    for (const rbe_companion *c = param->companions; c; c = c->next) parts++;
    return parts;
}

size_t rbe_param_list_parts(const rbe_param_list *list) {
    size_t parts = 0;
    for (size_t n = 0; n < list->layer_count; n++) {
        const rbe_layer *layer = list->layers[n];
        if (rbe_layer_blocks(layer)) parts += RBE_BLOCKS_PARTS;
        for (size_t k = 0; k < layer->param_count; k++) parts += parts_of(&layer->params[k]);
    }
    for (size_t n = 0; n < list->beside_count; n++) parts += parts_of(list->beside[n]);
    return parts;
}

/* Raw floats: of a value finite ones, as a file of a model has them. */
static rbe_status pack_floats(rbe_pack *pack, rbe_owner owner, const char *part, const float *values, size_t count) {
    return rbe_pack_add(pack, owner, part, RBE_F32, 1, &count, values) ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static rbe_status pack_companions(rbe_pack *pack, rbe_owner owner, const rbe_param *param, cJSON *json) {
    cJSON *names = cJSON_AddArrayToObject(json, "companions");
    if (!names) return rbe_no_description(owner);
    for (const rbe_companion *c = param->companions; c; c = c->next) {
        RBE_TRY(pack_floats(pack, owner, c->name, c->values, param->count));
        if (!cJSON_AddItemToArray(names, cJSON_CreateString(c->name))) return rbe_no_description(owner);
    }
    return RBE_OK;
}

/* `number`: the parameter's. */
static rbe_status pack_param(rbe_pack *pack, rbe_owner owner, const char *number, const rbe_param_list *list,
                             const rbe_param *param, const rbe_blocks *blocks, cJSON *json) {
    char full[NUMBER_SIZE];
    snprintf(full, sizeof full, "%s.%s", owner.name, number);
    if (param->grad_set)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a checkpoint: the gradient of %s waits for a step of the optimiser",
                        param->name);
    rbe_state_writer state = rbe_state_write_to(json, param->name);
    RBE_TRY(rbe_write_text(&state.base, "name", param->part ? param->part : param->name));
    RBE_TRY(rbe_write_number(&state.base, "count", (double)param->count));
    RBE_TRY(rbe_write_number(&state.base, "optimiser", rbe_optim_has(list->optim, param)));
    RBE_TRY(rbe_write_number(&state.base, "frozen", param->frozen));
    RBE_TRY(rbe_write_number(&state.base, "decays", param->decays));
    RBE_TRY(rbe_write_number(&state.base, "bits", param->bits));
    RBE_TRY(rbe_write_number(&state.base, "lr_scale", (double)param->lr_scale));
    RBE_TRY(rbe_write_number(&state.base, "rate", (double)param->rate));
    if (!rbe_param_is_of_matrix(param, blocks)) {
        RBE_TRY(pack_floats(pack, owner, number, param->value, param->count));
        size_t bad = rbe_first_nonfinite(param->value, param->count);
        if (bad < param->count)
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "a checkpoint: %s: value %zu is %g", param->name, bad,
                            (double)param->value[bad]);
    }
    return pack_companions(pack, (rbe_owner){owner.kind, full}, param, json);
}

static size_t number_of(const rbe_param_list *list, const rbe_layer *layer) {
    size_t n = 0;
    while (n < list->layer_count && list->layers[n] != layer) n++;
    return n;
}

/* By number, so that a layer in several places is told from several layers. */
static rbe_status describe_children(const rbe_param_list *list, const rbe_layer *layer, cJSON *json) {
    cJSON *children = layer->child_count > 0 ? cJSON_AddArrayToObject(json, "children") : json;
    bool whole = children != NULL;
    for (size_t n = 0; whole && n < layer->child_count; n++)
        whole = cJSON_AddItemToArray(children, cJSON_CreateNumber((double)number_of(list, layer->children[n])));
    return whole ? RBE_OK : rbe_no_description((rbe_owner){"layer", layer->path});
}

/* What must be the same when the checkpoint is loaded: kind, name, options and what is inside. A name that has been cut
 * may end within a letter. */
static rbe_status describe(const rbe_param_list *list, const rbe_layer *layer, cJSON *json) {
    rbe_state_writer state = rbe_state_write_to(json, layer->path);
    char name[RBE_NAME_SIZE] = {0};
    memcpy(name, layer->name, rbe_utf8_length(layer->name, strlen(layer->name)));
    RBE_TRY(rbe_write_text(&state.base, "kind", layer->type->kind));
    RBE_TRY(rbe_write_text(&state.base, "name", name));
    RBE_TRY(describe_children(list, layer, json));
    return layer->type->write ? layer->type->write(layer, &state.base) : RBE_OK;
}

static rbe_status cannot_restore(const rbe_layer *layer) {
    return rbe_fail(RBE_INVALID_ARGUMENT,
                    "a checkpoint: %s: a layer of kind %s, with a compressed matrix, cannot be restored", layer->path,
                    layer->type->kind);
}

static rbe_status pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_param_list *list, const rbe_layer *layer,
                             cJSON *json) {
    static const rbe_save_options exact = {0};
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    if (blocks && !rbe_layer_as_linear(layer)) return cannot_restore(layer);
    cJSON *is = cJSON_AddObjectToObject(json, "is"), *matrix = NULL;
    if (!is) return rbe_no_description(owner);
    RBE_TRY(describe(list, layer, is));
    if (blocks && !(matrix = cJSON_AddObjectToObject(json, "matrix"))) return rbe_no_description(owner);
    if (blocks) RBE_TRY(rbe_pack_blocks(pack, owner, blocks, &exact, matrix));
    cJSON *params = cJSON_AddArrayToObject(json, "params");
    if (!params) return rbe_no_description(owner);
    for (size_t n = 0; n < layer->param_count; n++) {
        char number[NUMBER_SIZE];
        snprintf(number, sizeof number, "%zu", n);
        cJSON *param = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(params, param)) return rbe_no_description(owner);
        RBE_TRY(pack_param(pack, owner, number, list, &layer->params[n], blocks, param));
    }
    return RBE_OK;
}

rbe_status rbe_pack_param_list(rbe_pack *pack, const rbe_param_list *list, cJSON *layers, cJSON *beside) {
    char number[NUMBER_SIZE];
    for (size_t n = 0; n < list->layer_count; n++) {
        snprintf(number, sizeof number, "%zu", n);
        const rbe_owner owner = {"layer", number};
        cJSON *json = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(layers, json)) return rbe_no_description(owner);
        RBE_TRY(pack_layer(pack, owner, list, list->layers[n], json));
    }
    for (size_t n = 0; n < list->beside_count; n++) {
        snprintf(number, sizeof number, "%zu", n);
        const rbe_owner owner = {"parameter", "beside"};
        cJSON *json = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(beside, json)) return rbe_no_description(owner);
        RBE_TRY(pack_param(pack, owner, number, list, list->beside[n], NULL, json));
    }
    return RBE_OK;
}

/* ---- into memory --------------------------------------------------------------------------------------------- */

typedef struct rbe_companion_news {
    char name[RBE_NAME_SIZE];
    float *values;
    bool is_new;
} rbe_companion_news;

static rbe_status differs(const rbe_unpack *u, const char *what, const char *then, const char *now) {
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %s: %.180s when it was saved, %.180s now", u->file->source.name, what,
                    then, now);
}

/* The floats of a tensor, of which there must be `count`. *values is the caller's to free. */
static rbe_status read_floats(rbe_unpack *u, const char *part, size_t count, float **values) {
    rbe_part p = rbe_unpack_part(u, part);
    RBE_TRY(rbe_unpack_shape(u, part, p, 1, &count));
    if (p.info->dtype != RBE_F32)
        return rbe_unpack_fail(u, "tensor %s: expected F32, found %s", p.info->name, rbe_dtype_name(p.info->dtype));
    *values = rbe_alloc(count, sizeof **values);
    return *values ? rbe_tensor_file_read(u->file, p.number, *values) : RBE_INSUFFICIENT_MEMORY;
}

/* Companions that the parameter has and the file has not would keep values of another training. */
static rbe_status check_companions(const rbe_unpack *u, const rbe_param_news *p) {
    for (const rbe_companion *c = p->param->companions; c; c = c->next) {
        size_t n = 0;
        while (n < p->companion_count && strcmp(p->companions[n].name, c->name) != 0) n++;
        if (n == p->companion_count) return differs(u, p->param->name, "no such companion", c->name);
    }
    return RBE_OK;
}

static rbe_status read_companions(rbe_unpack *u, const cJSON *names, rbe_param_news *p) {
    const cJSON *item;
    if (!cJSON_IsArray(names)) return rbe_unpack_fail(u, "companions: expected a list");
    p->companions = rbe_alloc_zeroed((size_t)cJSON_GetArraySize(names), sizeof *p->companions);
    if (!p->companions) return RBE_INSUFFICIENT_MEMORY;
    cJSON_ArrayForEach(item, names) {
        const char *name = rbe_json_string(item);
        if (!name || strlen(name) >= RBE_NAME_SIZE) return rbe_unpack_fail(u, "companions: expected names");
        rbe_companion_news *c = &p->companions[p->companion_count++];
        snprintf(c->name, sizeof c->name, "%s", name);
        RBE_TRY(read_floats(u, name, p->count, &c->values));
        if (rbe_param_companion(p->param, name)) continue;
        RBE_TRY(rbe_param_add_companion(p->param, name, NULL));
        c->is_new = true;
    }
    return check_companions(u, p);
}

/* `blocks`: of the file, for a parameter of a matrix; else NULL, and the count stays. */
static rbe_status read_param(rbe_unpack *u, const char *number, const rbe_param_list *list, rbe_param_news *p,
                             const rbe_blocks *blocks) {
    char full[NUMBER_SIZE];
    double frozen = 0.0;
    rbe_param *param = p->param;
    rbe_state_reader state = rbe_state_read_from(u->json, u->file->source.name, param->name);
    rbe_reader *reader = &state.base;
    snprintf(full, sizeof full, "%s.%s", u->owner.name, number);
    RBE_TRY(rbe_read_same_text(reader, "name", param->part ? param->part : param->name));
    RBE_TRY(rbe_read_count(reader, "count", 0, RBE_JSON_MOST, &p->count));
    RBE_TRY(rbe_read_same_number(reader, "optimiser", rbe_optim_has(list->optim, param)));
    RBE_TRY(rbe_read_number(reader, "frozen", 0, 1, &frozen));
    RBE_TRY(rbe_read_same_number(reader, "decays", param->decays));
    RBE_TRY(rbe_read_same_number(reader, "bits", param->bits));
    RBE_TRY(rbe_read_number(reader, "lr_scale", -HUGE_VAL, HUGE_VAL, &p->lr_scale));
    RBE_TRY(rbe_read_number(reader, "rate", -HUGE_VAL, HUGE_VAL, &p->rate));
    p->frozen = frozen != 0.0;
    if (!blocks && p->count != param->count) {
        char now[32], then[32];
        snprintf(then, sizeof then, "%zu values", p->count);
        snprintf(now, sizeof now, "%zu", param->count);
        return differs(u, param->name, then, now);
    }
    if (!blocks) RBE_TRY(read_floats(u, number, p->count, &p->value));
    if (!blocks && rbe_first_nonfinite(p->value, p->count) < p->count)
        return rbe_unpack_fail(u, "tensor %s: a value is not finite", full);
    if (param->grad && p->count != param->count && !(p->grad = rbe_alloc_zeroed(p->count, sizeof *p->grad)))
        return RBE_INSUFFICIENT_MEMORY;
    state.members++; /* the companions */
    RBE_TRY(rbe_state_read_end(&state));
    rbe_unpack companions = *u;
    companions.owner.name = full;
    return read_companions(&companions, cJSON_GetObjectItemCaseSensitive(u->json, "companions"), p);
}

/* The description is compared as text. */
static rbe_status check_layer(const rbe_unpack *u, const rbe_param_list *list, const rbe_layer *layer,
                              const cJSON *then) {
    cJSON *now = cJSON_CreateObject();
    rbe_status status = now ? describe(list, layer, now) : rbe_no_description(u->owner);
    char *now_text = status == RBE_OK ? cJSON_PrintUnformatted(now) : NULL;
    char *then_text = status == RBE_OK ? cJSON_PrintUnformatted(then) : NULL;
    char what[32];
    snprintf(what, sizeof what, "layer %s", u->owner.name);
    if (status == RBE_OK && (!now_text || !then_text)) status = rbe_no_description(u->owner);
    if (status == RBE_OK && strcmp(now_text, then_text) != 0) status = differs(u, what, then_text, now_text);
    cJSON_free(now_text);
    cJSON_free(then_text);
    cJSON_Delete(now);
    return status;
}

/* Only positions may differ from those of the layer. */
static rbe_status check_geometry(const rbe_unpack *u, const rbe_layer *layer, const rbe_blocks *blocks) {
    const rbe_blocks_info a = rbe_blocks_describe(blocks), b = rbe_blocks_describe(rbe_layer_blocks(layer));
    char then[160] = "", now[160] = "", *texts[2] = {then, now};
    const rbe_blocks_info *infos[2] = {&a, &b};
    for (size_t n = 0; n < 2; n++)
        snprintf(texts[n], sizeof then, "blocks of %zu in groups of %zu, %s x %s%s, overlap %zu, image %zu x %zu",
                 infos[n]->block, infos[n]->group, rbe_transform_name(infos[n]->row_transform),
                 rbe_transform_name(infos[n]->column_transform), infos[n]->has_alpha ? ", alpha" : "",
                 infos[n]->overlap, infos[n]->image_height, infos[n]->image_width);
    return strcmp(then, now) == 0 ? RBE_OK : differs(u, layer->path, then, now);
}

static rbe_status read_matrix(rbe_unpack *u, rbe_news *news, rbe_layer *layer) {
    rbe_matrix_news *m = &news->matrices[news->matrix_count];
    rbe_unpack matrix = *u;
    matrix.json = cJSON_GetObjectItemCaseSensitive(u->json, "matrix");
    matrix.members = 0;
    m->layer = rbe_layer_as_linear(layer);
    if (!m->layer) return cannot_restore(layer);
    news->matrix_count++;
    RBE_TRY(rbe_unpack_blocks(&matrix, layer->in, layer->out, &m->blocks));
    RBE_TRY(check_geometry(u, layer, m->blocks));
    if (matrix.members == cJSON_GetArraySize(matrix.json)) return RBE_OK;
    return rbe_unpack_fail(u, "its matrix has a member that is unknown or occurs twice");
}

/* A layer without bias is another one. */
static rbe_status check_param_count(const rbe_unpack *u, const rbe_layer *layer, const cJSON *params) {
    char then[40], now[40];
    if (!cJSON_IsArray(params)) return rbe_unpack_fail(u, "its parameters are missing");
    if ((size_t)cJSON_GetArraySize(params) == layer->param_count) return RBE_OK;
    snprintf(then, sizeof then, "%d parameters", cJSON_GetArraySize(params));
    snprintf(now, sizeof now, "%zu", layer->param_count);
    return differs(u, layer->path, then, now);
}

static rbe_status read_layer(rbe_unpack *u, rbe_news *news, const rbe_param_list *list, rbe_layer *layer) {
    const rbe_blocks *present = rbe_layer_blocks(layer), *blocks = NULL;
    const cJSON *params = rbe_unpack_member(u, "params"), *is = rbe_unpack_member(u, "is");
    if (!is) return rbe_unpack_fail(u, "its description is missing");
    RBE_TRY(check_layer(u, list, layer, is));
    if (present && !rbe_unpack_member(u, "matrix")) return rbe_unpack_fail(u, "its matrix is missing");
    if (present) RBE_TRY(read_matrix(u, news, layer));
    if (present) blocks = news->matrices[news->matrix_count - 1].blocks;
    RBE_TRY(check_param_count(u, layer, params));
    if (u->members != cJSON_GetArraySize(u->json))
        return rbe_unpack_fail(u, "has a member that is unknown or occurs twice");
    for (size_t n = 0; n < layer->param_count; n++) {
        char number[NUMBER_SIZE];
        rbe_param_news *p = &news->params[news->param_count++];
        rbe_unpack one = *u;
        snprintf(number, sizeof number, "%zu", n);
        one.json = cJSON_GetArrayItem(params, (int)n);
        p->param = &layer->params[n];
        const bool of_matrix = rbe_param_is_of_matrix(p->param, present);
        RBE_TRY(read_param(&one, number, list, p, of_matrix ? blocks : NULL));
        if (!of_matrix) continue;
        size_t expected = p->param->value == present->values ? blocks->value_count : p->param->count;
        if (p->count != expected) return rbe_unpack_fail(u, "%s: expected %zu values", p->param->name, expected);
    }
    return RBE_OK;
}

static rbe_status make_room(rbe_news *news, const rbe_param_list *list) {
    size_t params = list->beside_count;
    for (size_t n = 0; n < list->layer_count; n++) params += list->layers[n]->param_count;
    news->params = rbe_alloc_zeroed(params, sizeof *news->params);
    news->matrices = rbe_alloc_zeroed(list->layer_count, sizeof *news->matrices);
    return news->params && news->matrices ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static rbe_status check_count(const rbe_tensor_file *file, const char *what, const cJSON *list, size_t now) {
    if (!cJSON_IsArray(list)) return rbe_fail(RBE_BAD_FORMAT, "%s: the list of %s is missing", file->source.name, what);
    size_t then = (size_t)cJSON_GetArraySize(list);
    if (then == now) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %zu %s when it was saved, %zu now", file->source.name, then, what, now);
}

rbe_status rbe_unpack_param_list(rbe_news *news, const rbe_param_list *list, const rbe_tensor_file *file,
                                 const cJSON *layers, const cJSON *beside, bool *used) {
    *news = (rbe_news){0};
    rbe_room room = rbe_room_of(file);
    RBE_TRY(check_count(file, "layers", layers, list->layer_count));
    RBE_TRY(check_count(file, "parameters beside the model", beside, list->beside_count));
    RBE_TRY(make_room(news, list));
    char number[NUMBER_SIZE];
    rbe_unpack u = {.file = file, .used = used, .owner = {"layer", number}, .room = &room, .times = 1};
    for (size_t n = 0; n < list->layer_count; n++) {
        snprintf(number, sizeof number, "%zu", n);
        u.json = cJSON_GetArrayItem(layers, (int)n);
        u.members = 0;
        RBE_TRY(read_layer(&u, news, list, list->layers[n]));
    }
    u.owner = (rbe_owner){"parameter", "beside"};
    for (size_t n = 0; n < list->beside_count; n++) {
        snprintf(number, sizeof number, "%zu", n);
        u.json = cJSON_GetArrayItem(beside, (int)n);
        rbe_param_news *p = &news->params[news->param_count++];
        p->param = list->beside[n];
        RBE_TRY(read_param(&u, number, list, p, NULL));
    }
    return RBE_OK;
}

/* The arrays come first: a layer drops companions whose count is not that of its coefficients. */
static void commit_param(rbe_param_news *p) {
    rbe_param *param = p->param;
    if (p->grad) rbe_param_replace_array(param, 1, p->grad);
    p->grad = NULL;
    for (size_t n = 0; n < p->companion_count; n++) {
        rbe_param_set_companion(param, p->companions[n].name, p->companions[n].values);
        p->companions[n].values = NULL;
        p->companions[n].is_new = false;
    }
    param->count = p->count;
    if (p->value) memcpy(param->value, p->value, p->count * sizeof *p->value);
}

void rbe_news_commit(rbe_news *news) {
    for (size_t n = 0; n < news->param_count; n++) commit_param(&news->params[n]);
    for (size_t n = 0; n < news->matrix_count; n++)
        rbe_linear_exchange_blocks(news->matrices[n].layer, news->matrices[n].blocks);
    for (size_t n = 0; n < news->param_count; n++) { /* after the layers, whose rates follow their positions */
        rbe_param *param = news->params[n].param;
        param->frozen = news->params[n].frozen;
        param->lr_scale = (float)news->params[n].lr_scale;
        param->rate = (float)news->params[n].rate;
        param->grad_set = false;
    }
}

void rbe_news_discard(rbe_news *news) {
    for (size_t n = 0; n < news->param_count; n++) {
        rbe_param_news *p = &news->params[n];
        for (size_t k = 0; k < p->companion_count; k++) {
            rbe_free(p->companions[k].values);
            if (p->companions[k].is_new) rbe_param_remove_companion(p->param, p->companions[k].name);
        }
        rbe_free(p->companions);
        rbe_free(p->value);
        rbe_free(p->grad);
    }
    for (size_t n = 0; n < news->matrix_count; n++) rbe_blocks_free(news->matrices[n].blocks);
    rbe_free(news->params);
    rbe_free(news->matrices);
    *news = (rbe_news){0};
}
