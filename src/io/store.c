/* The stored types by number, name and the type of their tensors. */
#include "io/store.h"

#include <stdio.h>
#include <string.h>

static const rbe_store_type *const types[] = {[RBE_STORE_F32] = &rbe_store_f32,
                                              [RBE_STORE_F16] = &rbe_store_f16,
                                              [RBE_STORE_BF16] = &rbe_store_bf16,
                                              [RBE_STORE_INT8] = &rbe_store_int8};

enum { TYPES = sizeof types / sizeof *types };

const rbe_store_type *rbe_store_type_of(rbe_store store) { return (size_t)store < TYPES ? types[store] : NULL; }

/* "f32, f16, bf16 or int8", of the names or of the types of tensors. */
static const char *list(char *text, size_t size, bool names) {
    *text = '\0';
    for (size_t n = 0; n < TYPES; n++) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "%s%s",
                 n == 0          ? ""
                 : n + 1 < TYPES ? ", "
                                 : " or ",
                 names ? types[n]->name : rbe_dtype_name(types[n]->dtype));
    }
    return text;
}

/* ---- by name ------------------------------------------------------------------------------------------------- */

const char *rbe_store_name(rbe_store store) {
    const rbe_store_type *type = rbe_store_type_of(store);
    return type ? type->name : NULL;
}

bool rbe_store_named(const char *name, rbe_store *store) {
    for (size_t n = 0; n < TYPES; n++)
        if (name && strcmp(name, types[n]->name) == 0) {
            *store = (rbe_store)n;
            return true;
        }
    char names[100];
    rbe_fail(RBE_INVALID_ARGUMENT, "store: expected %s, found %s", list(names, sizeof names, true),
             name ? name : "NULL");
    return false;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

rbe_dtype rbe_plain_dtype(rbe_store store) { return types[store]->plain; }

rbe_status rbe_pack_values(rbe_pack *pack, rbe_owner owner, const char *part, rbe_store store, size_t dims,
                           const size_t *shape, const float *values, const rbe_rows *rows) {
    return types[store]->pack(types[store], pack, owner, part, dims, shape, values, rows);
}

rbe_status rbe_unpack_values(rbe_unpack *u, rbe_part p, const rbe_rows *rows, float *values) {
    for (size_t n = 0; n < TYPES; n++)
        if (types[n]->dtype == p.info->dtype) return types[n]->unpack(u, p, rows, values);
    char names[100];
    return rbe_unpack_fail(u, "tensor %s: expected %s, found %s", p.info->name, list(names, sizeof names, false),
                           rbe_dtype_name(p.info->dtype));
}
