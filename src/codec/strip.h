/* Strips: one block row of W' at a time, as rows and as coefficients.
 *
 * A strip is B x width doubles, width = grid_cols * B, row-major: block q stands in columns qB .. . In the
 * transform domain row i holds output frequency i of all its blocks, which is how lists of positions see it. With
 * La, Ra the matrices of analysis and Ls, Rs those of synthesis,
 *
 *     S = La (W' - sum_l alpha_l Psi_l) Ra^T for each block, and back W' = Ls^T S Rs + sum_l alpha_l Psi_l.
 */
#ifndef RBE_CODEC_STRIP_H
#define RBE_CODEC_STRIP_H

#include "codec/blocks.h"

/* Where the rows of a matrix come from: reads rows first .. first + count - 1 of W (not W'), count x in. */
typedef struct rbe_row_source {
    size_t out, in;
    void (*read)(void *self, size_t first, size_t count, float *rows);
    void *self;
    bool concurrent; /* several threads may read at once */
} rbe_row_source;

/* Tables and scratch for the strips of one geometry, and a place among the callers of OpenBLAS, from new to free. One
 * thread at a time. */
typedef struct rbe_strips {
    const rbe_blocks *b;
    size_t width;
    double *row_analysis, *column_analysis;   /* La, Ra */
    double *row_synthesis, *column_synthesis; /* Ls, Rs */
    double *psi;                              /* [r][l][c]: Psi_l at row r, column c; NULL without alpha */
    double *psi_hat;                          /* [i][l][j]: La Psi_l Ra^T */
    double *half;                             /* a strip between two products */
    float *rows, *mapped, *scratch;           /* B rows of W, and of W E_in^T; of the map of the inputs */
    bool inside_blas;
} rbe_strips;

rbe_status rbe_strips_new(rbe_strips *s, const rbe_blocks *b);
void rbe_strips_free(rbe_strips *s); /* zeros are allowed */

/* strip = block row p of W' */
void rbe_strip_cut(rbe_strips *s, const rbe_row_source *source, size_t p, double *strip);

/* alpha[q * 8 + l] = <basis_l, block q>; basis is psi for a strip of W', psi_hat for one of coefficients. */
void rbe_strip_project(const rbe_strips *s, const double *basis, const double *strip, double *alpha);

/* block q += factor * sum_l alpha[q * 8 + l] basis_l */
void rbe_strip_add(const rbe_strips *s, const double *basis, double factor, const double *alpha, double *strip);

/* In place: La W' Ra^T, and Ls^T S Rs. */
void rbe_strip_analyse(rbe_strips *s, double *strip);
void rbe_strip_synthesise(rbe_strips *s, double *strip);

/* rows (B x in) = block row p of a compressed matrix after the map of the inputs, before the window of the outputs;
 * `strip` is scratch. */
void rbe_strip_decompress(rbe_strips *s, const rbe_blocks *b, size_t p, double *strip, float *rows);

/* A source that decompresses. Keeps the block row it read last, so that ascending reads decompress each once. */
typedef struct rbe_block_reader {
    rbe_strips strips;
    size_t held; /* block row in `rows`; SIZE_MAX: none */
    double *strip;
    float *rows;
} rbe_block_reader;

size_t rbe_block_reader_bytes(const rbe_blocks *b); /* that a reader holds */
rbe_status rbe_block_reader_new(rbe_block_reader *reader, const rbe_blocks *b);
void rbe_block_reader_free(rbe_block_reader *reader); /* zeros are allowed */
void rbe_block_reader_read(void *reader, size_t first, size_t count, float *rows);

#endif
