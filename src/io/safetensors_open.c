/* Safetensors files from where they may be: a path, memory, a stream. All are read by rbe_tensor_file_from_source. */
#include "io/convert.h"
#include "io/safetensors.h"

rbe_tensor_file *rbe_tensor_file_open(const char *path) {
    rbe_source source;
    if (!path) rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tensor_file_open: the path is NULL");
    if (!path || rbe_source_open(&source, path) != RBE_OK) return NULL;
    return rbe_tensor_file_from_source(&source);
}

rbe_tensor_file *rbe_tensor_file_open_memory(const void *bytes, size_t count) {
    rbe_source source;
    if (!bytes) rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tensor_file_open_memory: the memory is NULL");
    if (!bytes || rbe_source_from_memory(&source, bytes, count, "memory") != RBE_OK) return NULL;
    return rbe_tensor_file_from_source(&source);
}

/* What a stream must begin with, so that an endless one of anything else is not read for ever. */
static rbe_status read_stream(rbe_source *source, FILE *stream) {
    uint64_t length;
    RBE_TRY(rbe_source_append(source, stream, sizeof length + 1));
    if (source->bytes > sizeof length) {
        rbe_swap_little_endian(&length, source->memory, 1, sizeof length);
        if (length > RBE_MAX_HEADER || ((const char *)source->memory)[sizeof length] != '{')
            return rbe_fail(RBE_BAD_FORMAT, "%s: it does not begin like a safetensors file", source->name);
    }
    return rbe_source_append(source, stream, SIZE_MAX);
}

rbe_tensor_file *rbe_tensor_file_open_stream(FILE *stream) {
    rbe_source source;
    if (!stream) rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tensor_file_open_stream: the stream is NULL");
    if (!stream || rbe_source_from_memory(&source, NULL, 0, "stream") != RBE_OK) return NULL;
    if (read_stream(&source, stream) == RBE_OK) return rbe_tensor_file_from_source(&source);
    rbe_source_close(&source);
    return NULL;
}
