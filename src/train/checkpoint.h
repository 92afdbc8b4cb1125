/* Checkpoints from open files. */
#ifndef RBE_TRAIN_CHECKPOINT_H
#define RBE_TRAIN_CHECKPOINT_H

#include "rbe/checkpoint.h"
#include "rbe/io.h"

/* What rbe_checkpoint_load does with the file that it opens; the checkpoint's own members have been checked. */
rbe_status rbe_checkpoint_from_file(const rbe_checkpoint *checkpoint, const rbe_tensor_file *file);

#endif
