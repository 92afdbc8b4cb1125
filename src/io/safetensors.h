/* The safetensors container, read and written.
 *
 *     8 bytes      length of the header, little-endian
 *     header       JSON: {"__metadata__":{key:text, ..},
 *                         name:{"dtype":..,"shape":[..],"data_offsets":[begin,end]}, ..}
 *     data         the tensors one after the other, row-major, little-endian, without gaps
 *
 * With checksums the header begins with RBE_CHECKSUM_PREFIX and 8 hexadecimal digits, the CRC-32 of all header
 * bytes behind them; under RBE_DATA_CHECKSUM_KEY stand those of the tensors in the order of the data. Any key that
 * begins with RBE_KEY_PREFIX demands both: no single damaged byte makes a file with checksums one without.
 */
#ifndef RBE_IO_SAFETENSORS_H
#define RBE_IO_SAFETENSORS_H

#include "io/source.h"
#include "rbe/io.h"

#define RBE_KEY_PREFIX "rbe."
#define RBE_CHECKSUM_KEY RBE_KEY_PREFIX "crc32"
#define RBE_CHECKSUM_PREFIX "{\"__metadata__\":{\"" RBE_CHECKSUM_KEY "\":\""
#define RBE_DATA_CHECKSUM_KEY RBE_KEY_PREFIX "data_crc32"
#define RBE_METADATA_KEY "__metadata__"

enum { RBE_CHECKSUM_DIGITS = 8, RBE_CHUNK_BYTES = 16384, RBE_MAX_HEADER = 100 * 1000 * 1000 };

typedef struct rbe_tensor_entry {
    rbe_tensor_info info;
    uint64_t begin; /* in the data */
    uint32_t crc;
} rbe_tensor_entry;

struct rbe_tensor_file {
    rbe_source source;
    uint64_t data_start;
    rbe_tensor_entry *entries; /* in the order of the data */
    size_t count;
    size_t *by_name; /* numbers of the entries, sorted by name */
    rbe_metadata *metadata;
    size_t metadata_count;
    char *text; /* all names, keys and values */
    bool checksums;
};

/* Takes over the source, also when it fails. */
rbe_tensor_file *rbe_tensor_file_from_source(rbe_source *source);

/* Reads part of a tensor: bytes of the file as they stand. */
rbe_status rbe_tensor_entry_read(const rbe_tensor_file *file, size_t n, size_t offset, void *bytes, size_t count);

/* Writes tensors that are not compressed matrices: rbe_tensor_file_save. */
rbe_status rbe_tensors_write(const char *path, const rbe_stored_tensor *tensors, size_t count,
                             const rbe_metadata *metadata, size_t metadata_count, bool checksums);

/* The same with checksums; `keep` files in all stay (rbe_atomic_keep). */
rbe_status rbe_tensors_write_keeping(const char *path, const rbe_stored_tensor *tensors, size_t count,
                                     const rbe_metadata *metadata, size_t metadata_count, size_t keep);

/* The size of the file that rbe_tensors_write would write; the same statuses, but for those of writing. */
rbe_status rbe_tensors_bytes(const rbe_stored_tensor *tensors, size_t count, const rbe_metadata *metadata,
                             size_t metadata_count, bool checksums, size_t *bytes);

/* Puts tensors of wide values first: so all are aligned in a mapped file. Those of equal width stay in order. */
void rbe_order_tensors(rbe_stored_tensor *tensors, size_t count);

/* The memory that the JSON texts of a file of this size may take. */
uint64_t rbe_file_room(uint64_t file_bytes);

/* BAD_FORMAT if the file has checksums and that of tensor number n is not `found`. */
rbe_status rbe_tensor_entry_check(const rbe_tensor_file *file, size_t n, uint32_t found);

/* The product of a shape, and of that with the bytes of a value: false if they cannot be counted. */
bool rbe_shape_bytes(rbe_dtype dtype, size_t dims, const size_t *shape, size_t *count, size_t *bytes);

#endif
