/* The kernels in plain vector extensions: 4 floats a vector, which every machine of today has. */
#define LANES 4
#define METHODS rbe_methods_portable
#define BACKWARD rbe_backward_portable
#define METHODS_NAME "portable"
#include "kernels/methods.h"
