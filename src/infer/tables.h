/* Numbers that the full library computes with GSL, as constants: make_tables.c writes them when the library is built. */
#ifndef RBE_INFER_TABLES_H
#define RBE_INFER_TABLES_H

#include "codec/basis.h"
#include "codec/filters.h"

/* The two pairs of filters of a wavelet. */
typedef struct rbe_filter_table {
    size_t member; /* of rbe_transform */
    rbe_filters analysis, synthesis;
} rbe_filter_table;

/* What rbe_basis holds, its arrays one after the other. */
typedef struct rbe_basis_table {
    size_t block, rank;
    const double *even, *vector; /* of B / 2 values each */
    double lambda[RBE_MAX_RANK];
    double to_orthonormal[RBE_BASIS_COUNT][RBE_BASIS_COUNT];
} rbe_basis_table;

extern const rbe_filter_table rbe_filter_tables[];
extern const rbe_basis_table rbe_basis_tables[];

/* CRC-32, without its complements, of each byte and as many zeros behind it. */
extern const uint32_t rbe_crc_table[8][256];

#endif
