/* What the programs that look into safetensors files share: dense matrices, and the layers of a model's file. */
#ifndef RBE_EXAMPLES_TENSORS_H
#define RBE_EXAMPLES_TENSORS_H

#include "common.h"
#include "rbe/io.h"

/* Of floats, with two dimensions, not empty. */
bool tensor_is_float(const rbe_tensor_info *info);
bool tensor_is_matrix(const rbe_tensor_info *info);

/* The values of tensor n, to be freed; ends the program on failure. */
float *tensor_read(const rbe_tensor_file *file, size_t n);

/* W of a layer or of a compressed matrix, dense, to be freed; ends the program on failure. */
float *dense_matrix(const rbe_layer *layer);

/* The n-th tensor of a model's file is called "stage.part". The smallest stage that has tensors and is at least `first`;
 * LONG_MAX if there is none. */
long next_stage(const rbe_tensor_file *file, long first);

/* Ends the program with 2 if there is no output, or if it is the input, whatever both are called. in NULL: there is none. */
void tensor_check_output(const char *out, const char *in);

#endif
