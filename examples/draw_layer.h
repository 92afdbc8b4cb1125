/* Pictures of layers, drawn by gnuplot. */
#ifndef RBE_EXAMPLES_DRAW_LAYER_H
#define RBE_EXAMPLES_DRAW_LAYER_H

#include "tensors.h"

/* Draws into a PNG file the layer's matrix; if `original` (out x in) is not NULL, between the original and the error, all
 * in the same colours; of a compressed layer how large its coefficients are, by frequency; and how few of the largest
 * values hold how much of the energy. Ends the program on failure. */
void draw_layer(const char *path, const rbe_layer *layer, const float *original);

/* ||w - original|| / ||original|| */
double relative_difference(const float *w, const float *original, size_t count);

#endif
