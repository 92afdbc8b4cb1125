/* .npy files from any source of bytes. */
#ifndef RBE_IO_NPY_H
#define RBE_IO_NPY_H

#include "io/source.h"
#include "rbe/io.h"

/* What rbe_npy_read does with the file that it opens. */
rbe_status rbe_npy_from_source(const rbe_source *source, rbe_tensor *tensor);

#endif
