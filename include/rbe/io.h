/* rbe/io.h - models, weights and arrays in files: safetensors and NumPy's .npy.
 *
 *     RBE_TRY(rbe_model_save(m, "model.safetensors", &(rbe_save_options){.store = RBE_STORE_F16}));
 *     rbe_model *again = rbe_model_load("model.safetensors");
 *     if (!again) puts(rbe_last_error());
 *
 * A model file is a safetensors file, which a Python user can open with json and numpy. docs/format.md describes it in
 * enough detail to write a reader. Files are little-endian on every host.
 *
 * Writing. A file is written under a temporary name (rbe-..tmp) in the same folder, synced and renamed. After a crash,
 * a full disk or any other error the old file is whole, and there is never half a new one. The new file gets the old
 * one's mode, and its owner if that is permitted. A symbolic link is followed, and its target replaced. A device or
 * FIFO is written to, not replaced; a FIFO that nobody reads, a socket and a folder are an IO_ERROR. The folder must be
 * readable, so that it can be synced. The next save in the folder, on the same host, removes temporary files of
 * processes that were killed.
 *
 * One failure can happen after the new file has taken its name: if the folder cannot be synced, the status is IO_ERROR
 * and the text says that the file "has been replaced". A crash may then bring the old one back.
 *
 * Reading. A file is not trusted; anything but a regular file is an IO_ERROR at once. Sizes, offsets, types, names,
 * checksums, positions and values are checked, each before memory is allocated for what it describes. The memory is
 * bounded by the file's size, each time by the larger of two numbers:
 *
 *     the values of the header            16 times the file, 1 MiB
 *     a model or compressed matrix        16 times (128 with packed layers), 32 MiB
 *     inputs and outputs of all layers    16 times, 2 MiB; for each sample when the model is run. A layer that
 *                                         runs several times (rbe_repeat_new, shared weights) counts as often.
 *
 * rbe_set_max_read_bytes (rbe/base.h) replaces each of these bounds, and also bounds the copy of a stream. Reading
 * needs at most 1 MiB on top. Failures are IO_ERROR (the file cannot be opened or read), BAD_FORMAT (its content is
 * bad; the text names the file, or says "memory" or "stream", the tensor and the reason) and INSUFFICIENT_MEMORY. JSON
 * is parsed by cJSON, whose temporary values come from malloc.
 */
#ifndef RBE_IO_H
#define RBE_IO_H

#include <stdio.h>

#include "rbe/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- models -------------------------------------------------------------------------------------------------- */

/* How values are stored; in memory they are always float32. Alphas and biases are stored in the same type; with int8,
 * in f16. Rounding is to the nearest, ties to even.
 *
 * Layers that have bits (rbe_layer_set_bits) are packed, whatever is asked for here. Their values are whole numbers of
 * that many bits times the step of their row. Values, positions and steps are coded so that frequent ones take less
 * space; a grown layer of 4 bits takes about half as much as with int8 and deltas. A parameter of theirs without bits
 * is stored as float32. A loaded layer has its bits, too, so saving it again gives the same file. Values that are not
 * whole steps are rounded to them, and steps below 2^-126 to 0. Such a file has version 2 of the format; older readers
 * refuse it. */
typedef enum rbe_store {
    RBE_STORE_F32,  /* exact */
    RBE_STORE_F16,  /* 11 bits, up to 65504 */
    RBE_STORE_BF16, /* 8 bits, the range of float32 */
    RBE_STORE_INT8  /* -127 .. 127 times a scale for each output row (dense), or each row of S (compressed) */
} rbe_store;

/* How the positions of residual coefficients are stored. */
typedef enum rbe_store_positions {
    RBE_POSITIONS_SMALLEST, /* for each layer: the seed if there is one, else deltas (packed layers: their code) */
    RBE_POSITIONS_PLAIN,    /* list pointers and columns (16 bits while they suffice), as in memory */
    RBE_POSITIONS_DELTA,    /* distances from one column to the next, a byte for most */
    RBE_POSITIONS_SEED      /* for patterns that were drawn at random and never changed: no bytes at all */
} rbe_store_positions;

/* Zeros (and NULL) mean the defaults: f32 values, the smallest positions. */
typedef struct rbe_save_options {
    rbe_store store;
    rbe_store_positions positions;
} rbe_save_options;

/* "f32", "f16", "bf16", "int8", static strings; NULL past the last: to list them all. */
RBE_API const char *rbe_store_name(rbe_store store);

/* The type of that name; false, with an error text that lists the names, for another. */
RBE_API bool rbe_store_named(const char *name, rbe_store *store);

/* Writes a model: its layers, with those inside others and those of a type with `read` (rbe/extend.h); the operations
 * that rbe_operation_named knows (rbe/nn.h); and its texts (rbe_model_set_metadata). It does not store gradients,
 * companions, what is frozen, and what steers a layer's computation (batch_threshold, use_cache). INVALID_ARGUMENT,
 * naming the stage, for another operation or kind of layer, for more than 64 layers around one, for bits other than 0
 * and 2 .. 8, and with RBE_POSITIONS_SEED for positions that have no seed (beyond 65536 columns or below 1 position in
 * 1024 none have); also for names and texts of more than 100 MB. NUMERICAL_INSTABILITY, naming the tensor and the
 * index, for a value that is not finite or beyond the range of the store; IO_ERROR; INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_model_save(const rbe_model *model, const char *path, const rbe_save_options *options);

/* Reads what rbe_model_save wrote. The model is the caller's, to be freed by rbe_model_free. NULL on failure, see
 * "Reading". */
RBE_API rbe_model *rbe_model_load(const char *path);

/* The same from the bytes of a file in memory, which need not outlive the call, and from a stream (below). */
RBE_API rbe_model *rbe_model_load_memory(const void *bytes, size_t count);
RBE_API rbe_model *rbe_model_load_stream(FILE *stream);

/* The size in bytes of the file that rbe_model_save would write, without writing one. Statuses are those of
 * rbe_model_save. */
RBE_API rbe_status rbe_model_stored_bytes(const rbe_model *model, const rbe_save_options *options, size_t *bytes);

/* ---- texts that a model carries ------------------------------------------------------------------------------ */

/* What a program needs beside the layers: how inputs are scaled, the names of classes. Each is a text under a key. The
 * texts belong to the model and are part of its files, covered by the checksum; a loaded model has the texts of its
 * file.
 *
 *     char text[32];
 *     snprintf(text, sizeof text, "%.9g", mean);      (nine digits bring a float back)
 *     RBE_TRY(rbe_model_set_metadata(m, "input.mean", text));
 *     ..
 *     float mean = strtof(rbe_model_metadata(again, "input.mean"), NULL);
 */
typedef struct rbe_metadata {
    const char *key, *value; /* UTF-8 */
} rbe_metadata;

/* Sets or replaces the text of a key; value NULL removes it. Both are copied. INVALID_ARGUMENT for a key or text that
 * is not UTF-8, and for keys that begin with "rbe.", which are the library's; INSUFFICIENT_MEMORY. On failure the texts
 * stay as they were. */
RBE_API rbe_status rbe_model_set_metadata(rbe_model *model, const char *key, const char *value);

/* The text of a key, and the n-th pair in the order of keys; NULL if there is none, and for a NULL model. They live
 * until a text of the model is set or the model is freed. */
RBE_API const char *rbe_model_metadata(const rbe_model *model, const char *key);
RBE_API const rbe_metadata *rbe_model_metadata_at(const rbe_model *model, size_t n);

/* ---- tensor files (safetensors) ------------------------------------------------------------------------------ */

/* X(name, bytes of a value) */
#define RBE_DTYPE_TABLE(X)                                                                                             \
    X(F64, 8)                                                                                                          \
    X(F32, 4)                                                                                                          \
    X(F16, 2)                                                                                                          \
    X(BF16, 2)                                                                                                         \
    X(I64, 8)                                                                                                          \
    X(I32, 4)                                                                                                          \
    X(I16, 2)                                                                                                          \
    X(I8, 1)                                                                                                           \
    X(U64, 8)                                                                                                          \
    X(U32, 4)                                                                                                          \
    X(U16, 2)                                                                                                          \
    X(U8, 1)                                                                                                           \
    X(BOOL, 1)

/* The type of a tensor's values: RBE_F64, RBE_F32, .. */
typedef enum rbe_dtype {
#define RBE_DTYPE_ENUM(name, bytes) RBE_##name,
    RBE_DTYPE_TABLE(RBE_DTYPE_ENUM)
#undef RBE_DTYPE_ENUM
} rbe_dtype;

/* "F32" and the like, static strings, and the bytes of one value; "UNKNOWN" and 0 for what is not in the table. */
RBE_API const char *rbe_dtype_name(rbe_dtype dtype);
RBE_API size_t rbe_dtype_bytes(rbe_dtype dtype);

/* The most dimensions of a tensor in a file. */
#define RBE_FILE_MAX_DIMS 8

/* A tensor of a file. dims 0: a single value. */
typedef struct rbe_tensor_info {
    const char *name; /* UTF-8 */
    rbe_dtype dtype;
    size_t dims;
    size_t shape[RBE_FILE_MAX_DIMS];
    size_t count; /* values: the product of the shape */
    size_t bytes;
} rbe_tensor_info;

/* An open file of tensors. */
typedef struct rbe_tensor_file rbe_tensor_file;

/* Opens a safetensors file and reads and checks its header. NULL on failure. Several threads may read an open file at
 * once. */
RBE_API rbe_tensor_file *rbe_tensor_file_open(const char *path);
RBE_API void rbe_tensor_file_close(rbe_tensor_file *file); /* NULL is allowed */

/* The same from the bytes of a file in memory, which are borrowed: they must not change until the file is closed. */
RBE_API rbe_tensor_file *rbe_tensor_file_open_memory(const void *bytes, size_t count);

/* The same from a stream that was opened for binary reading, such as a pipe: all its bytes from the current place to
 * the end. They are copied into memory, up to twice their size, which the file holds until it is closed. The stream is
 * not closed, and not needed any more. What does not begin like a safetensors file is refused after 9 bytes. */
RBE_API rbe_tensor_file *rbe_tensor_file_open_stream(FILE *stream);

/* The n-th tensor in the order of the data, NULL past the last; the number of the tensor of that name, or the count of
 * all if there is none; the count. Infos live as long as the file is open. */
RBE_API const rbe_tensor_info *rbe_tensor_file_at(const rbe_tensor_file *file, size_t n);
RBE_API size_t rbe_tensor_file_find(const rbe_tensor_file *file, const char *name);
RBE_API size_t rbe_tensor_file_count(const rbe_tensor_file *file);

/* The text of a key of __metadata__, which lives as long as the file is open; NULL if there is none. */
RBE_API const char *rbe_tensor_file_metadata(const rbe_tensor_file *file, const char *key);

/* Copies the n-th tensor into the caller's memory (info.bytes), in the host's byte order. INVALID_ARGUMENT if there is
 * no such tensor, BAD_FORMAT if the file has checksums and the tensor is damaged; IO_ERROR. */
RBE_API rbe_status rbe_tensor_file_read(const rbe_tensor_file *file, size_t n, void *values);

/* The same, converted to float32 (info.count floats), from F64, F32, F16, BF16 or I8 (integers as they are).
 * INVALID_ARGUMENT for another type; NUMERICAL_INSTABILITY for a finite F64 that is too large for a float. Values that
 * are not finite are passed on. */
RBE_API rbe_status rbe_tensor_file_read_f32(const rbe_tensor_file *file, size_t n, float *values);

/* A tensor to be written, from one of three sources:
 *     values   in the host's byte order
 *   source   tensor number `source_index` of an open file, of the same type and size, is copied through
 *   blocks   a compressed matrix, stored as `save` says; dtype, dims and shape are not used */
typedef struct rbe_stored_tensor {
    const char *name;
    rbe_dtype dtype;
    size_t dims;
    size_t shape[RBE_FILE_MAX_DIMS];
    const void *values;
    const rbe_tensor_file *source;
    size_t source_index;
    const rbe_blocks *blocks;
    rbe_save_options save;
} rbe_stored_tensor;

/* Writes a safetensors file: `count` tensors in their order, and metadata. `checksums` adds a CRC-32 of the header and
 * of each tensor to the metadata, which the functions above then verify; to other readers they are texts. Keys that
 * begin with "rbe." belong to this library: a file with such a key must have checksums, and is refused without. What is
 * copied from a source that has checksums is verified.
 *
 * A compressed matrix NAME becomes the tensors NAME.values, NAME.alpha and so on. A file with one always has checksums,
 * and its tensors are sorted: those of wide values come first.
 *
 * INVALID_ARGUMENT for a tensor's or a key's name that occurs twice or is not UTF-8, for an extent of 2^53 or more, and
 * for a key "rbe.." without checksums; BAD_FORMAT for a source that is damaged; IO_ERROR; for compressed matrices also
 * what rbe_model_save reports. */
RBE_API rbe_status rbe_tensor_file_save(const char *path, const rbe_stored_tensor *tensors, size_t count,
                                        const rbe_metadata *metadata, size_t metadata_count, bool checksums);

/* Bytes that a compressed matrix takes in a file, without its description in the metadata. */
RBE_API rbe_status rbe_blocks_stored_bytes(const rbe_blocks *blocks, const rbe_save_options *options, size_t *bytes);

/* The name of the n-th compressed matrix of a file, in the order of names; NULL past the last. Lives as long as the
 * file is open. (The layers of a model are not found this way: rbe_model_load.) */
RBE_API const char *rbe_tensor_file_matrix(const rbe_tensor_file *file, size_t n);

/* Reads a compressed matrix, with the checks of a model. *blocks is the caller's, to be freed by rbe_blocks_free; NULL
 * on failure. INVALID_ARGUMENT if there is none of that name; BAD_FORMAT, also for a file without compressed
 * matrices. */
RBE_API rbe_status rbe_tensor_file_read_blocks(const rbe_tensor_file *file, const char *name, rbe_blocks **blocks);

/* ---- weights from elsewhere ---------------------------------------------------------------------------------- */

/* A linear layer from an open file of dense tensors: the matrix NAME.weight (out x in, as PyTorch's nn.Linear has it)
 * and the bias NAME.bias (without one the layer has none), of any type that rbe_tensor_file_read_f32 reads. The layer
 * is called NAME and is the caller's. NULL on failure: INVALID_ARGUMENT for a matrix that is missing,
 * INPUT_DIMENSION_MISMATCH for another shape, NUMERICAL_INSTABILITY for a value that is not finite. The second
 * compresses the matrix by rbe_compress_weights, with its options, report (either may be NULL) and statuses: with
 * samples the bias is corrected. */
RBE_API rbe_layer *rbe_dense_from_file(const rbe_tensor_file *file, const char *name);
RBE_API rbe_layer *rbe_linear_from_file(const rbe_tensor_file *file, const char *name,
                                        const rbe_compress_options *options, rbe_compress_report *report);

/* Zeros (and NULL): every parameter must have its tensor, and every tensor its parameter. */
typedef struct rbe_fill_options {
    bool allow_missing;   /* parameters without a tensor keep their values */
    bool allow_left_over; /* tensors that belong to no parameter are ignored */
} rbe_fill_options;

/* Fills a model from an open file of dense tensors. Their names begin with the path of their layer: PATH.weight,
 * PATH.bias, and PATH.PART for the parameters of other kinds of layers (rbe_param). A layer with several places has the
 * path of its first. A compressed layer's matrix is compressed with the layer's own block size, transforms and groups,
 * to as many values as it had or a few fewer; positions are chosen anew. INVALID_ARGUMENT names the first tensor that
 * is missing or left over, INPUT_DIMENSION_MISMATCH one of another shape, NUMERICAL_INSTABILITY a value that is not
 * finite. On failure the model is what it was. Frozen parameters are filled, too. Gradients and companions stay; those
 * of coefficients only if their number stays the same. */
RBE_API rbe_status rbe_model_fill(rbe_model *model, const rbe_tensor_file *file, const rbe_fill_options *options);

/* ---- arrays (.npy) ------------------------------------------------------------------------------------------- */

/* Reads an array of 1 to RBE_MAX_DIMS dimensions, floats of 16, 32 or 64 bits, whole numbers of 8 to 64 bits or bools,
 * in C or Fortran order, of either byte order, into a new row-major tensor, to be freed by rbe_tensor_free.
 * INVALID_ARGUMENT for a valid file of another type, number of dimensions or without values; NUMERICAL_INSTABILITY
 * names the first finite value that is too large for a float, or a whole number that no float has exactly (float64 is
 * rounded). Values that are not finite are passed on. */
RBE_API rbe_status rbe_npy_read(const char *path, rbe_tensor *tensor);

/* Writes a tensor as little-endian float32 in C order. INVALID_ARGUMENT for a tensor without values; IO_ERROR, see
 * "Writing". */
RBE_API rbe_status rbe_npy_write(const char *path, const rbe_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
