/* Checksums of files and data, by CRC-32. */
#include "train/checksum.h"

#include "base/crc.h"
#include "data/dataset.h"
#include "io/source.h"

void rbe_checksum_add(rbe_checksum *sum, const void *bytes, size_t count) {
    sum->crc = rbe_crc32(sum->crc, bytes, count);
    sum->bytes += count;
}

static rbe_status add_source(rbe_checksum *sum, const rbe_source *source, uint64_t most) {
    char piece[16384];
    uint64_t end = most < source->bytes ? most : source->bytes;
    while (sum->bytes < end) {
        uint64_t left = end - sum->bytes;
        size_t count = left < sizeof piece ? (size_t)left : sizeof piece;
        RBE_TRY(rbe_source_read(source, sum->bytes, piece, count));
        rbe_checksum_add(sum, piece, count);
    }
    return RBE_OK;
}

rbe_status rbe_checksum_of_file(rbe_checksum *sum, const char *path, uint64_t most) {
    rbe_source source;
    *sum = (rbe_checksum){0};
    RBE_TRY(rbe_source_open(&source, path));
    rbe_status status = add_source(sum, &source, most);
    rbe_source_close(&source);
    return status;
}

static void add_rows(rbe_checksum *sum, const void *rows, size_t count, size_t bytes) {
    if (rows) rbe_checksum_add(sum, rows, count * bytes);
}

rbe_checksum rbe_checksum_of_data(const rbe_dataset *data) {
    rbe_checksum sum = {0};
    add_rows(&sum, data->pixels, data->count, data->features);
    add_rows(&sum, data->values, data->count, data->features * sizeof(float));
    add_rows(&sum, data->tokens, rbe_places(data, data->features), sizeof(int32_t));
    add_rows(&sum, data->labels, rbe_places(data, rbe_label_width(data)), sizeof(int32_t));
    add_rows(&sum, data->targets, data->count, data->target_width * sizeof(float));
    add_rows(&sum, data->weights, data->count, sizeof(float));
    return sum;
}
