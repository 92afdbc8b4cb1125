/* What the files of models are called, and models from open files. */
#ifndef RBE_IO_MODEL_FILE_H
#define RBE_IO_MODEL_FILE_H

#include "rbe/io.h"

#define RBE_MODEL_FORMAT "model"
#define RBE_STAGES_KEY "rbe.stages"

/* What rbe_model_load does with the file that it opens. NULL on failure. */
rbe_model *rbe_model_from_file(const rbe_tensor_file *file);

#endif
