/* The texts that a model carries, on their way into its file and out of it. */
#ifndef RBE_IO_METADATA_H
#define RBE_IO_METADATA_H

#include "io/blocks_code.h"

/* Gives a new model all texts of a file but this library's own. BAD_FORMAT if they take more memory than the unpack has
 * room for. */
rbe_status rbe_metadata_unpack(rbe_model *model, const rbe_unpack *unpack);

/* The library's own texts, then the model's: *all is the caller's to free, the texts are not. */
rbe_status rbe_metadata_pack(const rbe_model *model, const rbe_metadata *own, size_t own_count, rbe_metadata **all,
                             size_t *count);

#endif
