/* Whether all ranks train the same. Rank 0 hands round what its checkpoint would say (checkpoint.h), with options in the
 * place of the training's state; every rank compares it with its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/json.h"
#include "train/checkpoint.h"
#include "train/training.h"

/* ---- comparing ----------------------------------------------------------------------------------------------- */

enum { PLACE_SIZE = 120, VALUE_SIZE = 80 };

/* What stands at a place, for a text. A string of 16 hexadecimal digits is a number (state_code.h). */
static const char *value_text(const cJSON *item, char text[VALUE_SIZE]) {
    const char *string = rbe_json_string(item);
    if (!item)
        snprintf(text, VALUE_SIZE, "nothing");
    else if (string && strlen(string) == 16 && strspn(string, "0123456789abcdef") == 16) {
        const uint64_t bits = strtoull(string, NULL, 16);
        double value;
        memcpy(&value, &bits, sizeof value);
        snprintf(text, VALUE_SIZE, "%.9g", value);
    } else if (string)
        snprintf(text, VALUE_SIZE, "\"%.60s\"", string);
    else if (cJSON_IsNumber(item))
        snprintf(text, VALUE_SIZE, "%.16g", item->valuedouble);
    else
        snprintf(text, VALUE_SIZE,
                 cJSON_IsArray(item)    ? "a list"
                 : cJSON_IsObject(item) ? "an object"
                                        : "another value");
    return text;
}

static rbe_status differ(const char *place, const cJSON *own, const cJSON *first) {
    char a[VALUE_SIZE], b[VALUE_SIZE];
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %s here, %s on rank 0", place, value_text(own, a), value_text(first, b));
}

static rbe_status compare(const char *place, const cJSON *own, const cJSON *first);

/* Members of objects by their names, those of lists by their places, or by the names that they have themselves. */
static rbe_status compare_members(const char *place, const cJSON *own, const cJSON *first) {
    char inner[PLACE_SIZE];
    const cJSON *item, *other = first->child;
    size_t n = 0;
    cJSON_ArrayForEach(item, own) {
        const char *name =
            item->string ? item->string : rbe_json_string(cJSON_GetObjectItemCaseSensitive(item, "name"));
        if (item->string) other = cJSON_GetObjectItemCaseSensitive(first, item->string);
        if (name)
            snprintf(inner, sizeof inner, "%s%s%s", place, *place ? ": " : "", name);
        else
            snprintf(inner, sizeof inner, "%s %zu", place, n);
        RBE_TRY(compare(inner, item, other));
        if (!item->string) other = other->next;
        n++;
    }
    cJSON_ArrayForEach(item, first) {
        if (!item->string || cJSON_GetObjectItemCaseSensitive(own, item->string)) continue;
        snprintf(inner, sizeof inner, "%s%s%s", place, *place ? ": " : "", item->string);
        return differ(inner, NULL, item);
    }
    if (cJSON_GetArraySize(own) == cJSON_GetArraySize(first)) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %d here, %d on rank 0", place, cJSON_GetArraySize(own),
                    cJSON_GetArraySize(first));
}

static rbe_status compare(const char *place, const cJSON *own, const cJSON *first) {
    if (own && first && own->type == first->type && (cJSON_IsArray(own) || cJSON_IsObject(own)))
        return compare_members(place, own, first);
    return cJSON_Compare(own, first, true) ? RBE_OK : differ(place, own, first);
}

/* The parts of a fingerprint, states with the library's version first: what follows may depend on it. */
static rbe_status compare_parts(const cJSON *own, const cJSON *first) {
    static const struct {
        int number;
        const char *name;
    } parts[] = {{2, ""}, {0, "layers"}, {1, "parameters beside the model"}, {3, "checksums of parameters"}};
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++)
        RBE_TRY(compare(parts[n].name, cJSON_GetArrayItem(own, parts[n].number),
                        cJSON_GetArrayItem(first, parts[n].number)));
    return RBE_OK;
}

static rbe_status compare_texts(const char *own, const char *first, size_t first_length) {
    cJSON *a = NULL, *b = NULL;
    const int depth = RBE_JSON_DEPTH + 1;
    rbe_status status = rbe_json_parse(&a, own, strlen(own), depth, "this rank", UINT64_MAX);
    if (status == RBE_OK) status = rbe_json_parse(&b, first, first_length, depth, "rank 0", UINT64_MAX);
    if (status == RBE_OK) status = compare_parts(a, b);
    cJSON_Delete(a);
    cJSON_Delete(b);
    return status;
}

/* ---- fingerprints -------------------------------------------------------------------------------------------- */

static rbe_status fingerprint(rbe_training *t, char **text) {
    const size_t count = t->options.routine_count;
    rbe_routine *routines = rbe_alloc(count + 1, sizeof *routines);
    if (!routines) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < count; n++) routines[n] = t->options.routines[n];
    routines[count] = rbe_training_identity(t);
    const rbe_checkpoint all = {t->step.model, t->step.optim, routines, count + 1};
    t->train_sum = rbe_checksum_of_data(t->train);
    if (t->test) t->test_sum = rbe_checksum_of_data(t->test);
    rbe_status status = rbe_checkpoint_check("rbe_fit", &all, "");
    if (status == RBE_OK) status = rbe_checkpoint_fingerprint(&all, text);
    rbe_free(routines);
    return status;
}

rbe_status rbe_training_compare(rbe_training *t) {
    char *own = NULL, *first = NULL;
    if (!t->team.comm) return RBE_OK;
    rbe_status status = fingerprint(t, &own);
    size_t length = own ? strlen(own) : 0;
    if (rbe_team_leads(&t->team)) first = own;
    status = rbe_team_share(&t->team, status, &first, &length);
    if (status == RBE_OK && first != own) status = compare_texts(own, first, length);
    if (first != own) rbe_free(first);
    cJSON_free(own);
    return rbe_team_agree(&t->team, status);
}
