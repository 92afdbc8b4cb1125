/* A compressed matrix as named tensors and a JSON object, and back. docs/format.md, section 4, says which. The layers of a
 * model and the matrices of a tensor file are both stored this way.
 */
#ifndef RBE_IO_BLOCKS_CODE_H
#define RBE_IO_BLOCKS_CODE_H

#include "codec/rows.h"
#include "io/json.h"
#include "io/safetensors.h"

enum {
    RBE_STORE_PARTS = 2,                    /* tensors that an array of values becomes, at most */
    RBE_BLOCKS_PARTS = RBE_STORE_PARTS + 3, /* the same of a compressed matrix */
    RBE_MAX_WIDTH = 1 << 24
};

/* Metadata of every file that holds compressed matrices. */
#define RBE_FORMAT_KEY "rbe.format"
#define RBE_VERSION_KEY "rbe.version"
#define RBE_VERSION_TEXT "1"
#define RBE_PACKED_VERSION_TEXT "2" /* of models with a packed layer, packed.h */

/* BAD_FORMAT unless this is such a file, of this format ("model", "tensors"), with checksums, of version 1 or, where
 * packed layers are allowed, 2. */
rbe_status rbe_check_format(const rbe_tensor_file *file, const char *format, bool packed);

/* Whether a file that rbe_check_format has seen is of version 2. */
bool rbe_may_be_packed(const rbe_tensor_file *file);

/* What tensors belong to: they are called name.part. Texts speak of "stage 3" or "matrix fc1.weight". */
typedef struct rbe_owner {
    const char *kind, *name;
} rbe_owner;

/* ---- out of memory ------------------------------------------------------------------------------------------- */

/* Tensors to be written. The name of each is the beginning of a piece of memory that belongs to the pack; its
 * values may follow there, or belong to what is stored. */
typedef struct rbe_pack {
    rbe_stored_tensor *tensors;
    size_t count;
    struct rbe_pack_way *ways; /* to layers that have several places: layer_write.c */
    bool has_packed;           /* a tensor of packed.h is among them */
} rbe_pack;

/* Room for so many tensors. */
rbe_status rbe_pack_new(rbe_pack *pack, size_t capacity);
void rbe_pack_free(rbe_pack *pack); /* all zeros is allowed */

/* Appends "owner.part" of the given shape with room for its values, which are the caller's to fill in; NULL when
 * memory is short. `borrowed`, if not NULL, stands for values that are there already. */
void *rbe_pack_add(rbe_pack *pack, rbe_owner owner, const char *part, rbe_dtype dtype, size_t dims, const size_t *shape,
                   const void *borrowed);

/* NUMERICAL_INSTABILITY: value n of the tensor added last is not finite, or beyond the range of `store`. */
rbe_status rbe_pack_bad_value(const rbe_pack *pack, const float *values, size_t n, const char *store);

/* Appends tensors: of floats in F32, F16 or BF16; of values as `store` says; of a compressed matrix, whose geometry
 * (without its width and height) is added to `json`. Statuses: rbe_model_save. */
rbe_status rbe_pack_floats(rbe_pack *pack, rbe_owner owner, const char *part, rbe_dtype dtype, size_t dims,
                           const size_t *shape, const float *values);
rbe_status rbe_pack_values(rbe_pack *pack, rbe_owner owner, const char *part, rbe_store store, size_t dims,
                           const size_t *shape, const float *values, const rbe_rows *rows);
rbe_status rbe_pack_blocks(rbe_pack *pack, rbe_owner owner, const rbe_blocks *blocks, const rbe_save_options *options,
                           cJSON *json);

/* Adds the geometry, and what draws the positions again if they are to be stored so (*drawn), to `json`. */
rbe_status rbe_describe_blocks(rbe_owner owner, const rbe_blocks *blocks, rbe_store_positions positions, cJSON *json,
                               bool *drawn);

/* Alphas in the order of files, p, q, l, and back. */
void rbe_alpha_in_order(const rbe_blocks *blocks, float *ordered);
void rbe_alpha_from_order(rbe_blocks *blocks, const float *ordered);

/* The type of what belongs to no rows: alphas and biases. */
rbe_dtype rbe_plain_dtype(rbe_store store);

/* False when memory is short, which rbe_no_description reports. */
bool rbe_add_number(cJSON *json, const char *name, size_t number);
rbe_status rbe_no_description(rbe_owner owner);

/* ---- into memory --------------------------------------------------------------------------------------------- */

/* Memory that a file may still take: what is loaded, and the inputs and outputs of one sample when that is run. */
typedef struct rbe_room {
    uint64_t content, sample;
} rbe_room;

rbe_room rbe_room_of(const rbe_tensor_file *file);

/* What is read. */
typedef struct rbe_unpack {
    const rbe_tensor_file *file;
    bool *used; /* tensors that have been taken; NULL if nobody asks */
    rbe_owner owner;
    const cJSON *json;
    int members;               /* of the JSON object that have been read */
    rbe_room *room;            /* memory that may still be taken, for all owners of the file */
    uint64_t times;            /* how often the owner runs for a sample: the room of a sample is taken as often */
    struct rbe_packed *packed; /* of an owner whose values are packed, packed.h; else NULL */
} rbe_unpack;

/* A tensor of the owner: its number in the file and its description. */
typedef struct rbe_part {
    size_t number;
    const rbe_tensor_info *info; /* NULL: there is none */
} rbe_part;

/* BAD_FORMAT, with the file's name and the owner before the text. */
rbe_status rbe_unpack_fail(const rbe_unpack *unpack, const char *format, ...) RBE_PRINTF(2, 3);

/* Takes so many bytes of the room: BAD_FORMAT if it has fewer. Called before the memory itself is taken. */
rbe_status rbe_unpack_take(const rbe_unpack *unpack, rbe_room bytes);

/* A member of the owner's object; NULL without. */
const cJSON *rbe_unpack_member(rbe_unpack *unpack, const char *name);

/* The same of a whole number within these limits. */
rbe_status rbe_unpack_number(rbe_unpack *unpack, const char *name, uint64_t least, uint64_t most, size_t *number);

/* The tensor owner.name, looked for or taken, and whether it is there in this shape. */
rbe_part rbe_unpack_find(const rbe_unpack *unpack, const char *name);
rbe_part rbe_unpack_part(rbe_unpack *unpack, const char *name);
rbe_status rbe_unpack_shape(const rbe_unpack *unpack, const char *name, rbe_part part, size_t dims,
                            const size_t *shape);

/* Reads finite floats into `values`, or into memory of its own if that is NULL; *floats is the caller's to free
 * then. */
rbe_status rbe_unpack_floats(const rbe_unpack *unpack, rbe_part part, float *values, float **floats);

/* Reads values of any stored type. */
rbe_status rbe_unpack_values(rbe_unpack *unpack, rbe_part part, const rbe_rows *rows, float *values);

/* Makes a compressed matrix. NULL on failure. */
rbe_status rbe_unpack_blocks(rbe_unpack *unpack, size_t in, size_t out, rbe_blocks **blocks);

#endif
