/* Stored types: how an array of values becomes tensors, and back. A type is a constant table of methods in a file of
 * its own. A new one also needs its line in rbe_store (rbe/io.h), its declaration below, and its entry in the table of
 * store.c; docs/format.md, section 3, describes it, and python/rbe_reader.py reads it.
 */
#ifndef RBE_IO_STORE_H
#define RBE_IO_STORE_H

#include "io/blocks_code.h"

typedef struct rbe_store_type rbe_store_type;
struct rbe_store_type {
    const char *name; /* "int8" */
    rbe_dtype dtype;  /* of the values in a file, by which a reader knows the type */
    rbe_dtype plain;  /* of what belongs to no rows, alphas and biases: F32, F16 or BF16 */

    /* Appends the values as owner.part, at most RBE_STORE_PARTS tensors. NUMERICAL_INSTABILITY, by rbe_pack_bad_value,
     * for a value that the type cannot hold. */
    rbe_status (*pack)(const rbe_store_type *type, rbe_pack *pack, rbe_owner owner, const char *part, size_t dims,
                       const size_t *shape, const float *values, const rbe_rows *rows);

    /* Reads what `pack` has appended, `part`, whose shape has been checked. The values must be finite. */
    rbe_status (*unpack)(rbe_unpack *unpack, rbe_part part, const rbe_rows *rows, float *values);
};

extern const rbe_store_type rbe_store_f32, rbe_store_f16, rbe_store_bf16, rbe_store_int8;

/* NULL for a number that is none. */
const rbe_store_type *rbe_store_type_of(rbe_store store);

#endif
