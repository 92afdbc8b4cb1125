/* CRC-32 of what a checkpoint refers to and does not hold: data sets, logs, models in files of their own. */
#ifndef RBE_TRAIN_CHECKSUM_H
#define RBE_TRAIN_CHECKSUM_H

#include "rbe/data.h"

/* Of nothing: zeros. */
typedef struct rbe_checksum {
    uint64_t bytes;
    uint32_t crc;
} rbe_checksum;

void rbe_checksum_add(rbe_checksum *sum, const void *bytes, size_t count);

/* Of the first `most` bytes of a file, or of all that there are. IO_ERROR. */
rbe_status rbe_checksum_of_file(rbe_checksum *sum, const char *path, uint64_t most);

/* Of all arrays of a data set. */
rbe_checksum rbe_checksum_of_data(const rbe_dataset *data);

#endif
