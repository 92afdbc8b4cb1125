/* An operation outside the library. */
#ifndef RBE_TESTS_SWISH_H
#define RBE_TESTS_SWISH_H

#include "rbe/op.h"

/* y = x / (1 + exp(-steepness x)) */
rbe_var *swish(rbe_var *x, float steepness);

/* The same with a gradient that is too small by 1 %. */
rbe_var *wrong_swish(rbe_var *x);

#endif
