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

/* Whether a layer multiplies by a matrix that dense_matrix gives. */
bool layer_has_matrix(const rbe_layer *layer);

/* Tensors of a model's file are called "way.part", with the way to their layer, "3.0.1". From one way to the next that
 * has tensors, "" at first, in the order of rbe_model_layer; false behind the last. */
bool next_way(const rbe_tensor_file *file, char way[RBE_PATH_SIZE]);

/* Ends the program with 2 if there is no output, or if it is the input, whatever both are called. in NULL: there is none. */
void tensor_check_output(const char *out, const char *in);

#endif
