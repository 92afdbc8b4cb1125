/* The texts that a model carries. They stand, sorted by their keys, in one piece of memory, which the model frees: a
 * change makes another one.
 */
#include "io/metadata.h"

#include <string.h>

#include "base/alloc.h"
#include "nn/model.h"

struct rbe_model_texts {
    size_t count;
    rbe_metadata pairs[]; /* what they point to follows them */
};

static const rbe_metadata *pairs_of(const rbe_model *model, size_t *count) {
    *count = model && model->texts ? model->texts->count : 0;
    return *count > 0 ? model->texts->pairs : NULL;
}

static bool is_own(const char *key) { return strncmp(key, RBE_KEY_PREFIX, strlen(RBE_KEY_PREFIX)) == 0; }

/* The memory that all pairs take but the library's own, and their number. */
static size_t measure(const rbe_metadata *pairs, size_t count, size_t *kept) {
    size_t bytes = sizeof(struct rbe_model_texts);
    *kept = 0;
    for (size_t n = 0; n < count; n++) {
        if (is_own(pairs[n].key)) continue;
        bytes += sizeof *pairs + strlen(pairs[n].key) + strlen(pairs[n].value) + 2;
        ++*kept;
    }
    return bytes;
}

static const char *copy_text(char **next, const char *text) {
    size_t room = strlen(text) + 1;
    char *copy = memcpy(*next, text, room);
    *next += room;
    return copy;
}

/* Puts copies of sorted pairs, but of the library's own, in the place of the model's, which may be among them. */
static rbe_status replace(rbe_model *model, const rbe_metadata *pairs, size_t count) {
    size_t kept, bytes = measure(pairs, count, &kept);
    struct rbe_model_texts *texts = rbe_alloc(bytes, 1);
    if (!texts) return RBE_INSUFFICIENT_MEMORY;
    char *next = (char *)&texts->pairs[kept];
    texts->count = 0;
    for (size_t n = 0; n < count; n++) {
        if (is_own(pairs[n].key)) continue;
        const char *key = copy_text(&next, pairs[n].key);
        texts->pairs[texts->count++] = (rbe_metadata){key, copy_text(&next, pairs[n].value)};
    }
    rbe_free(model->texts);
    model->texts = texts;
    return RBE_OK;
}

/* ---- a user's ------------------------------------------------------------------------------------------------ */

static bool is_utf8(const char *text) { return rbe_utf8_length(text, strlen(text)) == strlen(text); }

static rbe_status check_pair(const char *key, const char *value) {
    if (!key || !is_utf8(key))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_set_metadata: expected a key in UTF-8, found %s",
                        key ? "other bytes" : "NULL");
    if (is_own(key))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_model_set_metadata: %s: keys that begin with " RBE_KEY_PREFIX " are the library's", key);
    if (value && !is_utf8(value))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_set_metadata: %s: its text is not UTF-8", key);
    return RBE_OK;
}

rbe_status rbe_model_set_metadata(rbe_model *model, const char *key, const char *value) {
    RBE_TRY(rbe_model_status(model));
    RBE_TRY(check_pair(key, value));
    size_t count, n = 0, kept = 0;
    const rbe_metadata *old = pairs_of(model, &count);
    rbe_metadata *pairs = rbe_alloc(count + 1, sizeof *pairs);
    if (!pairs) return RBE_INSUFFICIENT_MEMORY;
    for (; n < count && strcmp(old[n].key, key) < 0; n++) pairs[kept++] = old[n];
    if (value) pairs[kept++] = (rbe_metadata){key, value};
    for (; n < count; n++)
        if (strcmp(old[n].key, key) != 0) pairs[kept++] = old[n];
    rbe_status status = replace(model, pairs, kept);
    rbe_free(pairs);
    return status;
}

const char *rbe_model_metadata(const rbe_model *model, const char *key) {
    size_t count;
    const rbe_metadata *pairs = pairs_of(model, &count);
    for (size_t n = 0; key && n < count; n++)
        if (strcmp(pairs[n].key, key) == 0) return pairs[n].value;
    return NULL;
}

const rbe_metadata *rbe_model_metadata_at(const rbe_model *model, size_t n) {
    size_t count;
    const rbe_metadata *pairs = pairs_of(model, &count);
    return n < count ? &pairs[n] : NULL;
}

/* ---- in files ------------------------------------------------------------------------------------------------ */

rbe_status rbe_metadata_unpack(rbe_model *model, const rbe_unpack *u) {
    const rbe_tensor_file *file = u->file; /* whose metadata are sorted, too */
    size_t count, bytes = measure(file->metadata, file->metadata_count, &count);
    if (count == 0) return RBE_OK;
    RBE_TRY(rbe_unpack_take(u, (rbe_room){.content = bytes}));
    return replace(model, file->metadata, file->metadata_count);
}

rbe_status rbe_metadata_pack(const rbe_model *model, const rbe_metadata *own, size_t own_count, rbe_metadata **all,
                             size_t *count) {
    size_t others;
    const rbe_metadata *pairs = pairs_of(model, &others);
    *count = own_count + others;
    *all = rbe_alloc(*count, sizeof **all);
    if (!*all) return RBE_INSUFFICIENT_MEMORY;
    memcpy(*all, own, own_count * sizeof *own);
    if (others > 0) memcpy(*all + own_count, pairs, others * sizeof *pairs);
    return RBE_OK;
}
