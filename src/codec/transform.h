/* The const method table behind every transform. */
#ifndef RBE_CODEC_TRANSFORM_H
#define RBE_CODEC_TRANSFORM_H

#include "rbe/codec.h"

typedef enum rbe_transform_kind {
    RBE_TRANSFORM_DCT,
    RBE_TRANSFORM_HAAR,
    RBE_TRANSFORM_DAUBECHIES,
    RBE_TRANSFORM_WALSH,
    RBE_TRANSFORM_IDENTITY,
    RBE_TRANSFORM_BSPLINE
} rbe_transform_kind;

struct rbe_transform {
    const char *name;
    rbe_transform_kind kind; /* tells the kernels which fast code fits */
    size_t member;           /* a wavelet's number in GSL's family, which is the taps of haar and db; 0 otherwise */
    /* Write the B x B matrix, rows = atoms: of synthesis, and of analysis (NULL: the same, it is orthonormal). */
    void (*fill)(const rbe_transform *self, size_t block, double *matrix);
    void (*fill_analysis)(const rbe_transform *self, size_t block, double *matrix);
};

/* The DCT-II of any length: atom k at sample n. */
double rbe_dct_value(size_t length, size_t k, size_t n);

/* Whether B is a power of two in 8 .. 256. */
bool rbe_block_size_valid(size_t block);

#endif
