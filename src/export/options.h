/* Options of a layer, as it writes them. */
#ifndef RBE_EXPORT_OPTIONS_H
#define RBE_EXPORT_OPTIONS_H

#include "nn/layer.h"

/* A number by its name; 0 if there is none. */
double rbe_layer_option(const rbe_layer *layer, const char *name);

#endif
