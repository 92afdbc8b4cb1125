/* A layer whose values have few bits as one tensor: a table of its parameters, positions, steps and whole numbers, all in
 * one sequence of bits. docs/format.md, section 13.
 */
#ifndef RBE_IO_PACKED_H
#define RBE_IO_PACKED_H

#include "codec/quantise.h"
#include "io/bit_stream.h"
#include "io/layer_code.h"

#define RBE_PACKED_PART "packed" /* what the tensor is called */

enum { RBE_MOST_PACKED = 255 /* parameters */ };

/* A parameter in the table: of a matrix its rows and columns, of any other no rows and as many columns as it has values. */
typedef struct rbe_packed_part {
    char name[RBE_NAME_SIZE];
    uint64_t bits; /* of a value; 0: floats */
    uint64_t rows, columns;
} rbe_packed_part;

static inline size_t rbe_packed_count(const rbe_packed_part *part) {
    return part->rows > 0 ? part->rows * part->columns : part->columns;
}

/* Codes an entry of the table. False, of what is read, for a name, bits or numbers that there cannot be. */
bool rbe_packed_part_code(rbe_bits *bits, rbe_packed_part *part);

/* Codes the steps of all rows that have values, then the values as whole numbers of them. BAD_FORMAT, with `name` and the
 * part before the text, for what no writer writes. */
rbe_status rbe_packed_steps_code(rbe_bits *bits, const rbe_rows *rows, float *steps, const char *name,
                                 const char *part);
rbe_status rbe_packed_numbers_code(rbe_bits *bits, const rbe_rows *rows, unsigned width, const float *steps,
                                   float *numbers, const char *name, const char *part);

/* Codes values as floats of 32 bits. */
void rbe_packed_floats_code(rbe_bits *bits, float *values, size_t count);

/* ---- out of memory ------------------------------------------------------------------------------------------- */

/* Whether a parameter of the layer has bits. */
bool rbe_layer_has_bits(const rbe_layer *layer);

/* Appends the layer as one tensor; what describes a compressed matrix goes to `json`. Statuses: rbe_model_save. */
rbe_status rbe_pack_packed(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, rbe_store_positions positions,
                           cJSON *json);

/* ---- into memory --------------------------------------------------------------------------------------------- */

/* The tensor of a layer while it is read. */
typedef struct rbe_packed {
    char *name; /* "FILE: tensor 0.packed", for texts */
    rbe_bits bits;
    rbe_packed_part *parts;
    size_t count, next; /* the part that follows */
} rbe_packed;

/* Reads tensor and table of an owner that has one: unpack->packed, which stays NULL if it has none. */
rbe_status rbe_unpack_packed_open(rbe_unpack *unpack, rbe_packed *packed);

/* BAD_FORMAT unless all has been read. */
rbe_status rbe_unpack_packed_end(const rbe_unpack *unpack);
void rbe_packed_free(rbe_packed *packed); /* all zeros is allowed */

/* The entry of this name, NULL without. */
const rbe_packed_part *rbe_packed_find(const rbe_packed *packed, const char *name);

/* BAD_FORMAT unless there is a matrix of this name, with so many rows and values. */
rbe_status rbe_unpack_packed_shape(const rbe_unpack *unpack, const char *name, size_t rows, size_t count);

/* Reads the next part, which must be of this name and have these rows (0: it is no matrix) and as many values. */
rbe_status rbe_unpack_packed_values(const rbe_unpack *unpack, const char *name, size_t matrix_rows, size_t count,
                                    const rbe_rows *rows, float *values);

/* What rbe_unpack_blocks does for an owner that is packed. */
rbe_status rbe_unpack_packed_blocks(rbe_unpack *unpack, size_t in, size_t out, rbe_blocks **blocks);

#endif
