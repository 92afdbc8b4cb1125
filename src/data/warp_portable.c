/* The warp of warp.h: see there. */
#define RBE_WARP rbe_warp_portable
#include "data/warp_text.h"
