/* Checkpoints: a safetensors file of parameters (param_code.h), with three texts in its metadata:
 *
 *     rbe.layers    how layers are arranged, and what their parameters are but for the numbers in tensors
 *     rbe.beside    the same of parameters that the optimiser has beside the model
 *     rbe.states    {"library":.., "optimiser":{..}, "growth":{..}, ..}: of the optimiser and of every routine
 *
 * A load reads and checks all of it before anything changes. Routines come last: one that refuses its state after others
 * have taken theirs gives these back what they had.
 */
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/state_code.h"
#include "nn/model.h"
#include "optim/optim_internal.h"
#include "train/checksum.h"
#include "train/param_code.h"
#include "train/training.h"

#define FORMAT_NAME "checkpoint"
#define LAYERS_KEY "rbe.layers"
#define BESIDE_KEY "rbe.beside"
#define STATES_KEY "rbe.states"
#define LIBRARY "library"

/* ---- the optimiser as a routine ------------------------------------------------------------------------------ */

static rbe_status same_options(const rbe_optim *optim, rbe_sameness s) {
    const rbe_optim_options *o = &optim->options;
    RBE_TRY(rbe_same_text(s, "method", optim->method->name));
    RBE_TRY(rbe_same_number(s, "momentum", (double)o->momentum));
    RBE_TRY(rbe_same_number(s, "nesterov", o->nesterov));
    RBE_TRY(rbe_same_number(s, "weight_decay", (double)o->weight_decay));
    RBE_TRY(rbe_same_number(s, "beta1", (double)o->beta1));
    RBE_TRY(rbe_same_number(s, "beta2", (double)o->beta2));
    RBE_TRY(rbe_same_number(s, "epsilon", (double)o->epsilon));
    return rbe_same_number(s, "clip_norm", (double)o->clip_norm);
}

static rbe_status write_optim(void *user, rbe_writer *w) {
    const rbe_optim *optim = user;
    RBE_TRY(same_options(optim, (rbe_sameness){.writer = w}));
    RBE_TRY(rbe_write_number(w, "lr", (double)optim->options.lr));
    RBE_TRY(rbe_write_number(w, "steps", (double)optim->steps));
    return rbe_write_number(w, "grad_norm", (double)optim->grad_norm);
}

static rbe_status read_optim(void *user, rbe_reader *r) {
    rbe_optim *optim = user;
    double lr = 0.0, grad_norm = 0.0;
    size_t steps = 0;
    RBE_TRY(same_options(optim, (rbe_sameness){.reader = r}));
    RBE_TRY(rbe_read_number(r, "lr", 0.0, 1e38, &lr));
    RBE_TRY(rbe_read_count(r, "steps", 0, RBE_JSON_MOST, &steps));
    RBE_TRY(rbe_read_number(r, "grad_norm", -HUGE_VAL, HUGE_VAL, &grad_norm));
    optim->options.lr = (float)lr;
    optim->steps = steps;
    optim->grad_norm = (float)grad_norm;
    return RBE_OK;
}

/* Routine number n, the optimiser being one of them; false past the last. */
static bool routine_at(const rbe_checkpoint *c, size_t n, rbe_routine *routine) {
    if (c->optim && n == 0)
        *routine = (rbe_routine){.name = "optimiser", .write = write_optim, .read = read_optim, .user = c->optim};
    else if (n - (c->optim != NULL) < c->routine_count)
        *routine = c->routines[n - (c->optim != NULL)];
    else
        return false;
    return true;
}

rbe_status rbe_checkpoint_check(const char *who, const rbe_checkpoint *c, const char *path) {
    rbe_routine a, b;
    if (!c || !path) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the %s is NULL", who, c ? "path" : "checkpoint");
    RBE_TRY(rbe_model_status(c->model));
    if (c->routine_count > 0 && !c->routines)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the list of %zu routines is NULL", who, c->routine_count);
    for (size_t n = 0; routine_at(c, n, &a); n++) {
        if (!a.name || !a.write != !a.read)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "%s: expected a routine with a name, and both write and read or neither", who);
        if (strcmp(a.name, LIBRARY) == 0)
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: no routine can be called " LIBRARY, who);
        for (size_t k = 0; k < n && routine_at(c, k, &b); k++)
            if (strcmp(a.name, b.name) == 0)
                return rbe_fail(RBE_INVALID_ARGUMENT, "%s: two routines are called %s", who, a.name);
    }
    return RBE_OK;
}

/* ---- saving -------------------------------------------------------------------------------------------------- */

static rbe_status no_memory(void) { return rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for a checkpoint's states"); }

static rbe_status write_state(const rbe_routine *routine, cJSON *json) {
    rbe_state_writer state = rbe_state_write_to(json, routine->name);
    return routine->write ? routine->write(routine->user, &state.base) : RBE_OK;
}

static rbe_status write_states(const rbe_checkpoint *c, cJSON *states) {
    rbe_routine routine;
    if (!cJSON_AddStringToObject(states, LIBRARY, rbe_version())) return no_memory();
    for (size_t n = 0; routine_at(c, n, &routine); n++) {
        cJSON *json = cJSON_AddObjectToObject(states, routine.name);
        if (!json) return no_memory();
        RBE_TRY(write_state(&routine, json));
    }
    return RBE_OK;
}

/* What is written; the texts are freed by cJSON_free. */
typedef struct contents {
    rbe_param_list list;
    rbe_pack pack;
    cJSON *layers, *beside, *states;
    char *texts[3];
} contents;

static void contents_free(contents *c) {
    rbe_pack_free(&c->pack);
    rbe_param_list_free(&c->list);
    cJSON_Delete(c->layers);
    cJSON_Delete(c->beside);
    cJSON_Delete(c->states);
    for (size_t n = 0; n < 3; n++) cJSON_free(c->texts[n]);
}

static rbe_status collect(contents *c, const rbe_checkpoint *checkpoint) {
    c->layers = cJSON_CreateArray();
    c->beside = cJSON_CreateArray();
    c->states = cJSON_CreateObject();
    if (!c->layers || !c->beside || !c->states) return no_memory();
    RBE_TRY(rbe_param_list_make(&c->list, checkpoint->model, checkpoint->optim));
    RBE_TRY(rbe_pack_new(&c->pack, rbe_param_list_parts(&c->list)));
    RBE_TRY(rbe_pack_param_list(&c->pack, &c->list, c->layers, c->beside));
    RBE_TRY(write_states(checkpoint, c->states));
    const cJSON *const lists[3] = {c->layers, c->beside, c->states};
    for (size_t n = 0; n < 3; n++)
        if (!(c->texts[n] = cJSON_PrintUnformatted(lists[n]))) return no_memory();
    rbe_order_tensors(c->pack.tensors, c->pack.count);
    return RBE_OK;
}

rbe_status rbe_checkpoint_save(const rbe_checkpoint *checkpoint, const char *path, size_t keep) {
    contents c = {0};
    RBE_TRY(rbe_checkpoint_check("rbe_checkpoint_save", checkpoint, path));
    rbe_status status = collect(&c, checkpoint);
    if (status == RBE_OK) {
        const rbe_metadata metadata[] = {{RBE_FORMAT_KEY, FORMAT_NAME},
                                         {RBE_VERSION_KEY, RBE_VERSION_TEXT},
                                         {LAYERS_KEY, c.texts[0]},
                                         {BESIDE_KEY, c.texts[1]},
                                         {STATES_KEY, c.texts[2]}};
        status = rbe_tensors_write_keeping(path, c.pack.tensors, c.pack.count, metadata,
                                           sizeof metadata / sizeof *metadata, keep ? keep : 1);
    }
    contents_free(&c);
    return status;
}

/* ---- fingerprints -------------------------------------------------------------------------------------------- */

static size_t tensor_bytes(const rbe_stored_tensor *tensor) {
    size_t bytes = rbe_dtype_bytes(tensor->dtype);
    for (size_t n = 0; n < tensor->dims; n++) bytes *= tensor->shape[n];
    return bytes;
}

static cJSON *checksums(const rbe_pack *pack) {
    cJSON *sums = cJSON_CreateObject();
    for (size_t n = 0; sums && n < pack->count; n++) {
        const rbe_stored_tensor *tensor = &pack->tensors[n];
        rbe_checksum sum = {0};
        rbe_checksum_add(&sum, tensor->values, tensor_bytes(tensor));
        if (cJSON_AddNumberToObject(sums, tensor->name, (double)sum.crc)) continue;
        cJSON_Delete(sums);
        return NULL;
    }
    return sums;
}

rbe_status rbe_checkpoint_fingerprint(const rbe_checkpoint *checkpoint, char **text) {
    contents c = {0};
    *text = NULL;
    rbe_status status = collect(&c, checkpoint);
    cJSON *all = status == RBE_OK ? cJSON_CreateArray() : NULL, *sums = status == RBE_OK ? checksums(&c.pack) : NULL;
    if (all && sums && cJSON_AddItemToArray(all, c.layers) && cJSON_AddItemToArray(all, c.beside) &&
        cJSON_AddItemToArray(all, c.states) && cJSON_AddItemToArray(all, sums)) {
        c.layers = c.beside = c.states = sums = NULL;
        *text = cJSON_PrintUnformatted(all);
    }
    if (status == RBE_OK && !*text) status = no_memory();
    cJSON_Delete(all);
    cJSON_Delete(sums);
    contents_free(&c);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------------------------- */

/* What a file holds, and what has been made of it. */
typedef struct loading {
    const rbe_checkpoint *checkpoint;
    rbe_param_list list;
    const rbe_tensor_file *file;
    cJSON *layers, *beside, *states;
    cJSON *before; /* states of the routines as they are now */
    bool *used;    /* tensors */
    rbe_news news;
} loading;

static rbe_status parse(const loading *l, const char *key, cJSON **json) {
    const char *text = rbe_tensor_file_metadata(l->file, key);
    if (!text) return rbe_fail(RBE_BAD_FORMAT, "%s: " FORMAT_NAME " without %s", l->file->source.name, key);
    return rbe_json_parse(json, text, strlen(text), RBE_JSON_DEPTH, l->file->source.name,
                          rbe_file_room(l->file->source.bytes));
}

static rbe_status read_texts(loading *l) {
    RBE_TRY(rbe_check_format(l->file, FORMAT_NAME, false));
    RBE_TRY(parse(l, LAYERS_KEY, &l->layers));
    RBE_TRY(parse(l, BESIDE_KEY, &l->beside));
    RBE_TRY(parse(l, STATES_KEY, &l->states));
    l->used = rbe_alloc_zeroed(l->file->count, sizeof *l->used);
    if (!l->used) return RBE_INSUFFICIENT_MEMORY;
    return rbe_param_list_make(&l->list, l->checkpoint->model, l->checkpoint->optim);
}

/* Bits may differ between versions, and with them the rest of the training. */
static rbe_status check_library(const loading *l) {
    const char *then = rbe_json_string(cJSON_GetObjectItemCaseSensitive(l->states, LIBRARY));
    if (!then) return rbe_fail(RBE_BAD_FORMAT, "%s: the library's version is missing", l->file->source.name);
    if (strcmp(then, rbe_version()) == 0) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: saved by version %.20s of the library, this is %s", l->file->source.name,
                    then, rbe_version());
}

static bool is_there(const rbe_checkpoint *c, const char *name) {
    rbe_routine routine;
    for (size_t n = 0; routine_at(c, n, &routine); n++)
        if (strcmp(routine.name, name) == 0) return true;
    return false;
}

/* The file has the states of all routines, and no others. */
static rbe_status check_routines(const loading *l) {
    const cJSON *item;
    rbe_routine routine;
    size_t count = 0;
    for (; routine_at(l->checkpoint, count, &routine); count++)
        if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(l->states, routine.name)))
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: no %s when it was saved, one now", l->file->source.name,
                            routine.name);
    cJSON_ArrayForEach(item, l->states) {
        if (strcmp(item->string, LIBRARY) == 0 || is_there(l->checkpoint, item->string)) continue;
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %.60s when it was saved, none now", l->file->source.name,
                        item->string);
    }
    if ((size_t)cJSON_GetArraySize(l->states) == count + 1) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: a state occurs twice", l->file->source.name);
}

static rbe_status check_used(const loading *l) {
    for (size_t n = 0; n < l->file->count; n++)
        if (!l->used[n])
            return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s belongs to nothing", l->file->source.name,
                            l->file->entries[n].info.name);
    return RBE_OK;
}

static rbe_status read_state(const rbe_routine *routine, const cJSON *json, const char *file) {
    rbe_state_reader state = rbe_state_read_from(json, file, routine->name);
    if (!routine->read) return rbe_state_read_end(&state);
    RBE_TRY(routine->read(routine->user, &state.base));
    return rbe_state_read_end(&state);
}

/* Gives the first routines their states, of the file or of before. On failure *count says how many have been tried. */
static rbe_status read_states(const loading *l, const cJSON *states, size_t *count, size_t most) {
    rbe_routine routine;
    for (*count = 0; *count < most && routine_at(l->checkpoint, *count, &routine); ++*count)
        RBE_TRY(read_state(&routine, cJSON_GetObjectItemCaseSensitive(states, routine.name), l->file->source.name));
    return RBE_OK;
}

/* Printed and parsed, as a file's are: cJSON reads what it has printed, not what was added raw. */
static rbe_status remember_states(loading *l) {
    cJSON *states = cJSON_CreateObject();
    rbe_status status = states ? write_states(l->checkpoint, states) : no_memory();
    char *text = status == RBE_OK ? cJSON_PrintUnformatted(states) : NULL;
    cJSON_Delete(states);
    if (status == RBE_OK && !text) status = no_memory();
    if (status == RBE_OK)
        status = rbe_json_parse(&l->before, text, strlen(text), RBE_JSON_DEPTH, "the present state", UINT64_MAX);
    cJSON_free(text);
    return status;
}

static rbe_status load_states(loading *l) {
    size_t tried, again;
    RBE_TRY(remember_states(l));
    rbe_status status = read_states(l, l->states, &tried, SIZE_MAX);
    if (status == RBE_OK) return RBE_OK;
    char text[512];
    snprintf(text, sizeof text, "%s", rbe_last_error());
    read_states(l, l->before, &again, tried + 1); /* the last may have changed before a member too many was seen */
    return rbe_fail(status, "%s", text);
}

static rbe_status load(loading *l) {
    RBE_TRY(read_texts(l));
    RBE_TRY(check_library(l));
    RBE_TRY(rbe_unpack_param_list(&l->news, &l->list, l->file, l->layers, l->beside, l->used));
    RBE_TRY(check_used(l));
    RBE_TRY(check_routines(l));
    RBE_TRY(load_states(l));
    rbe_news_commit(&l->news);
    return RBE_OK;
}

rbe_status rbe_checkpoint_from_file(const rbe_checkpoint *checkpoint, const rbe_tensor_file *file) {
    loading l = {.checkpoint = checkpoint, .file = file};
    rbe_status status = load(&l);
    rbe_news_discard(&l.news);
    rbe_param_list_free(&l.list);
    cJSON_Delete(l.layers);
    cJSON_Delete(l.beside);
    cJSON_Delete(l.states);
    cJSON_Delete(l.before);
    rbe_free(l.used);
    return status;
}

rbe_status rbe_checkpoint_load(const rbe_checkpoint *checkpoint, const char *path) {
    RBE_TRY(rbe_checkpoint_check("rbe_checkpoint_load", checkpoint, path));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    rbe_status status = file ? rbe_checkpoint_from_file(checkpoint, file) : rbe_last_status();
    rbe_tensor_file_close(file);
    return status;
}
