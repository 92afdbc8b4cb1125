/* Values as floats of 32 or 16 bits, each by itself. */
#include "base/failure.h"
#include "base/full.h"
#include "io/store.h"

static rbe_status pack(const rbe_store_type *type, rbe_pack *to, rbe_owner owner, const char *part, size_t dims,
                       const size_t *shape, const float *values, const rbe_rows *rows) {
    (void)rows;
    return rbe_pack_floats(to, owner, part, type->dtype, dims, shape, values);
}

/* As they stand in memory: no copy is needed. */
static rbe_status pack_exact(const rbe_store_type *type, rbe_pack *to, rbe_owner owner, const char *part, size_t dims,
                             const size_t *shape, const float *values, const rbe_rows *rows) {
    (void)rows;
    size_t count, bytes;
    rbe_shape_bytes(type->dtype, dims, shape, &count, &bytes);
    if (!rbe_pack_add(to, owner, part, type->dtype, dims, shape, values)) return RBE_INSUFFICIENT_MEMORY;
    size_t bad = rbe_first_nonfinite(values, count);
    return bad == count ? RBE_OK : rbe_pack_bad_value(to, values, bad, type->name);
}

static rbe_status unpack(rbe_unpack *u, rbe_part part, const rbe_rows *rows, float *values) {
    (void)rows;
    return rbe_unpack_floats(u, part, values, NULL);
}

const rbe_store_type rbe_store_f32 = {"f32", RBE_F32, RBE_F32, RBE_FULL(pack_exact), unpack};
const rbe_store_type rbe_store_f16 = {"f16", RBE_F16, RBE_F16, RBE_FULL(pack), unpack};
const rbe_store_type rbe_store_bf16 = {"bf16", RBE_BF16, RBE_BF16, RBE_FULL(pack), unpack};
