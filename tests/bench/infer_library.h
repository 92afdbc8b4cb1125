/* The small library beside the full one: loaded into a program that is linked with the full one. Nothing else sees its
 * functions. */
#ifndef BENCH_INFER_LIBRARY_H
#define BENCH_INFER_LIBRARY_H

#include "rbe/infer.h"

/* Every function of librbe_infer: small.rbe_predict is rbe_predict there. */
typedef struct small_library {
#define RBE_POINTER(name) __typeof__(name) *name;
    RBE_INFER_FUNCTIONS(RBE_POINTER)
#undef RBE_POINTER
} small_library;

/* Loads librbe_infer.so, which stands above the program's folder. IO_ERROR. */
rbe_status small_library_open(small_library *library);

#endif
