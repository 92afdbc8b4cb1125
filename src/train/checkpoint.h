/* Checkpoints from open files. */
#ifndef RBE_TRAIN_CHECKPOINT_H
#define RBE_TRAIN_CHECKPOINT_H

#include "rbe/checkpoint.h"
#include "rbe/io.h"

/* What rbe_checkpoint_load does with the file that it opens; the checkpoint's own members have been checked. */
rbe_status rbe_checkpoint_from_file(const rbe_checkpoint *checkpoint, const rbe_tensor_file *file);

/* All that a checkpoint would say, as a JSON text: a list of the layers, the parameters beside them, the states, and
 * checksums of all tensors. To be freed by cJSON_free. Fails as rbe_checkpoint_save does. */
rbe_status rbe_checkpoint_fingerprint(const rbe_checkpoint *checkpoint, char **text);

/* What rbe_checkpoint_save and rbe_checkpoint_load ask of their arguments; the text begins with `who`: checkpoint.c. */
rbe_status rbe_checkpoint_check(const char *who, const rbe_checkpoint *checkpoint, const char *path);

#endif
