/* rbe/codec.h - a weight matrix as blocks: eight smooth basis functions and a few transform coefficients each.
 *
 * W is out x in, row-major, cut into B x B blocks. Block (p, q) holds rows pB.., columns qB..; edge blocks are padded
 * with zeros. grid_rows = ceil(out / B), grid_cols = ceil(in / B); the block's index is p * grid_cols + q. With
 * overlap, or inputs that are an image, the blocks are those of another matrix W', from which W follows
 * (docs/format.md, section 7).
 *
 *     W_pq = sum_{k=0..7} alpha_pqk Phi_k  +  L^T S_pq R
 *
 * Phi_k is sampled at row r, column c with x = 2c/(B-1) - 1, y = 2r/(B-1) - 1, d = sqrt(x^2 + y^2):
 *     1, d, d^2, cos(pi x), cos(pi y), cos(2 pi x), cos(2 pi y), cos(pi x) cos(pi y).
 * L and R are B x B transforms whose rows are atoms (orthonormal but for the bspline ones); S_pq is sparse.
 *
 * Storage, in grouped rows. The coefficients of all blocks form one sparse matrix in the transform domain, grid_rows B
 * x grid_cols B. Positions are shared by `group` consecutive block rows (the last group may be smaller). For each group
 * and each output frequency i there is one ascending list of columns q B + j (16 bits while they suffice), and for each
 * entry the values of the group's block rows, side by side. group = 1 gives every block positions of its own. The list
 * (freq_i, freq_j, value) of one block is a view of it: rbe_blocks_get.
 */
#ifndef RBE_CODEC_H
#define RBE_CODEC_H

#include <stdbool.h>

#include "rbe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the eight basis functions ------------------------------------------------------------------------------- */

/* How many there are. */
#define RBE_BASIS_COUNT 8

/* Phi_k at (row, column) of a block of size B (8 .. 256, a power of two); NaN for arguments out of range. */
RBE_API double rbe_basis_value(int k, size_t row, size_t column, size_t block);

/* The raw Phi_k span the same space as orthonormal Psi_k (Gram-Schmidt in the order 1, cos pi x, cos pi y, cos 2 pi x,
 * cos 2 pi y, cos cos, d^2, d; Psi_k belongs to the k-th of that order). A triangular 8 x 8 matrix converts coordinates
 * exactly (to double precision): sum_k raw_k Phi_k = sum_k orthonormal_k Psi_k. Both arrays may be the same. Each call
 * makes the basis anew, which takes some ms, and about 100 ms for B = 256: rbe_blocks_get reads the alphas of a whole
 * matrix faster. INVALID_ARGUMENT for a bad B; INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_alpha_to_orthonormal(size_t block, const double raw[RBE_BASIS_COUNT],
                                            double orthonormal[RBE_BASIS_COUNT]);
RBE_API rbe_status rbe_alpha_to_raw(size_t block, const double orthonormal[RBE_BASIS_COUNT],
                                    double raw[RBE_BASIS_COUNT]);

/* ---- transforms ---------------------------------------------------------------------------------------------- */

/* A family of B x B transforms, as a constant that nobody frees. Names: "dct" (DCT-II), "haar", "db4", "db6" .. "db20"
 * (Daubechies, periodic, the full pyramid), "wht" (Walsh-Hadamard, sequency order), "identity", and the biorthogonal
 * B-spline wavelets of GSL "bspline103", 105, 202, 204, 206, 208, 301, 303, 305, 307, 309. */
typedef struct rbe_transform rbe_transform;

/* The transform of that name; NULL, with an error text that lists the names, for an unknown one. */
RBE_API const rbe_transform *rbe_transform_named(const char *name);
RBE_API const char *rbe_transform_name(const rbe_transform *transform);

/* The n-th transform, NULL past the end: to list them all. */
RBE_API const rbe_transform *rbe_transform_at(size_t n);

/* False for the bspline ones (and NULL). */
RBE_API bool rbe_transform_is_orthonormal(const rbe_transform *transform);

/* Fills `matrix` (B x B doubles, row-major, rows = atoms in order of rising frequency) so that signal =
 * matrix^T . coefficients: this is the L or R of the formula. B is a power of two, 8 .. 256. */
RBE_API rbe_status rbe_transform_matrix(const rbe_transform *transform, size_t block, double *matrix);

/* The same with coefficients = matrix . signal: the same matrix for an orthonormal transform. */
RBE_API rbe_status rbe_transform_analysis_matrix(const rbe_transform *transform, size_t block, double *matrix);

/* ---- compressed matrices ------------------------------------------------------------------------------------- */

/* A compressed matrix. */
typedef struct rbe_blocks rbe_blocks;

/* Whether blocks have alphas. */
typedef enum rbe_alpha_mode {
    RBE_ALPHA_AUTO, /* of a matrix to be compressed: on, unless the alphas would take more than a fifth of the budget */
    RBE_ALPHA_ON,
    RBE_ALPHA_OFF
} rbe_alpha_mode;

/* How a matrix is compressed. Zeros (and NULL) mean the defaults. */
typedef struct rbe_compress_options {
    size_t block;  /* B: a power of two, 8 .. 256; default 32 */
    size_t coeffs; /* K per block, 1 .. B^2 (alphas come on top); or, not both: */
    double ratio;  /* >= 1: the whole matrix holds out * in / ratio values, alphas included; default 16 */
    const rbe_transform *row_transform;    /* L, along the outputs; default dct */
    const rbe_transform *column_transform; /* R, along the inputs; default dct, of an image identity */
    rbe_alpha_mode alpha;                  /* of an image, AUTO is off */
    size_t group; /* block rows that share positions; default 1 (own positions); at most grid_rows is used */

    size_t overlap;                   /* o, 0 .. B/2: blocks overlap by so many rows, and columns unless an image */
    size_t image_height, image_width; /* the inputs are an image: in = height * width */

    bool adaptive;          /* on each axis left at NULL, take the best of dct, haar, db4, wht and identity; on two
                               axes the best pair, at the cost of 25 compressions (on one: 5) */
    double target_error;    /* instead of coeffs or ratio: the least budget of the whole matrix that reaches this
                               relative error (0 .. 1; of outputs if there are samples or a Gram matrix, else of W) */
    double min_compression; /* fail unless a dense matrix takes at least so many times the bytes; default 1 with
                               target_error, otherwise 0 */

    /* What the inputs look like, if that is known: positions are then chosen, and values, alphas and bias fitted, for
     * small errors of the outputs. Either samples (count x in, at least 2), or their Gram matrix, the means of x_i x_j
     * (in x in), and the means of x_i (in; NULL: zeros). */
    const float *samples;
    size_t sample_count;
    const double *gram;
    const float *mean;
} rbe_compress_options;

/* Compresses `weights` (out x in, row-major; extents 1 .. 2^24). First it fits alpha by least squares (QR). Then it
 * keeps the K largest of the residual's coefficients in each block, or with `ratio` the largest of the whole matrix
 * (with group > 1 by their energy summed over the group's rows). Then it fits alpha and the kept coefficients together
 * by least squares. *blocks is the caller's, to be freed by rbe_blocks_free; NULL on failure: INVALID_ARGUMENT;
 * NUMERICAL_INSTABILITY with the index of the first weight or sample that is not finite, or for a coefficient that is
 * too large for a float (it sums a whole block, so it can overflow even if every weight is finite);
 * INSUFFICIENT_MEMORY; INSUFFICIENT_COMPRESSION with the ratio and the minimum. */
RBE_API rbe_status rbe_compress(rbe_blocks **blocks, const float *weights, size_t out, size_t in,
                                const rbe_compress_options *options);

/* How well it went. */
typedef struct rbe_compress_report {
    double relative_error; /* ||W - C|| / ||W||, Frobenius, of the decompressed matrix C; 0 / 0 is 0 */
    double snr;            /* -20 log10 of it, in dB */
    double output_error;   /* the same of the centred outputs for the samples or the Gram matrix; 0 without */
    double value_ratio;    /* out * in / (number of coefficients and alphas) */
    double byte_ratio;     /* bytes of float weights / bytes of values, positions and alphas */
    double seconds;
    const rbe_transform *row_transform, *column_transform;
} rbe_compress_report;

/* The same with a report: `report` (or NULL) is filled in. With samples or a Gram matrix, `bias` (out values, or
 * NULL) is corrected so that the mean output stays what it was with `weights`; NUMERICAL_INSTABILITY if a corrected
 * bias is not finite. On failure neither is touched. */
RBE_API rbe_status rbe_compress_weights(rbe_blocks **blocks, float *bias, rbe_compress_report *report,
                                        const float *weights, size_t out, size_t in,
                                        const rbe_compress_options *options);

/* The same for a matrix that is compressed already (`source` stays): another block size, transform or budget. One block
 * row at a time is decompressed, and its spectrum held; with samples or a Gram matrix the spectrum of a group of block
 * rows. CORRUPTED_BLOCK for a bad source. */
RBE_API rbe_status rbe_recompress(rbe_blocks **blocks, float *bias, rbe_compress_report *report,
                                  const rbe_blocks *source, const rbe_compress_options *options);
RBE_API void rbe_blocks_free(rbe_blocks *blocks); /* NULL is allowed */

/* Writes the dense matrix (out x in) block by block into the caller's buffer. */
RBE_API rbe_status rbe_decompress(const rbe_blocks *blocks, float *weights);

/* Rows first .. first + count - 1 of it only. */
RBE_API rbe_status rbe_decompress_rows(const rbe_blocks *blocks, size_t first, size_t count, float *rows);

/* Hidden units have no order, so they may be sorted. This sorts the rows of weights1 (hidden x in) in place: after row
 * 0 comes the row nearest to it, and so on with the rows that are left. The columns of weights2 (out x hidden) and the
 * entries of bias1 (or NULL) move in the same way. The two layers compute the same function, with neighbours that are
 * more alike. `order` (hidden values, or NULL) receives the old number of each unit. It takes hidden x hidden floats of
 * memory. */
RBE_API rbe_status rbe_order_hidden_units(float *weights1, float *bias1, size_t hidden, size_t in, float *weights2,
                                          size_t out, size_t *order);

/* One stored coefficient of a block. */
typedef struct rbe_coefficient {
    uint16_t freq_i; /* row of S: output frequency */
    uint16_t freq_j; /* column of S: input frequency */
    float value;
} rbe_coefficient;

/* One block, for rbe_blocks_build: raw alphas (zeros without alpha) and coefficients in any order. */
typedef struct rbe_block {
    double alpha[RBE_BASIS_COUNT];
    const rbe_coefficient *coefficients;
    size_t count;
} rbe_block;

/* Builds a compressed matrix from grid_rows * grid_cols blocks in the order of their index. Of the options, block,
 * transforms, alpha (AUTO: on if any alpha is not zero), group, overlap and image are used; with overlap or an image
 * the blocks are those of W'. The positions of a group are the union of its blocks'. *blocks is the caller's, to be
 * freed by rbe_blocks_free; NULL on failure. CORRUPTED_BLOCK with index and reason for a frequency out of range, a
 * duplicate or a value that is not finite; NUMERICAL_INSTABILITY for alphas that are too large for floats in
 * orthonormal coordinates; INPUT_DIMENSION_MISMATCH for a wrong block count. */
RBE_API rbe_status rbe_blocks_build(rbe_blocks **blocks, size_t out, size_t in, const rbe_block *source,
                                    size_t block_count, const rbe_compress_options *options);

/* The view of block (p, q): writes raw alphas (unless alpha is NULL) and up to `capacity` coefficients (unless
 * coefficients is NULL), ascending in (freq_i, freq_j), and returns how many the block stores; 0 for a block outside of
 * the grid. */
RBE_API size_t rbe_blocks_get(const rbe_blocks *blocks, size_t p, size_t q, double alpha[RBE_BASIS_COUNT],
                              rbe_coefficient *coefficients, size_t capacity);

/* Checks everything that is stored: CORRUPTED_BLOCK with the block's index and the reason for a value that is not
 * finite or positions that are out of order or range. INVALID_ARGUMENT for NULL. */
RBE_API rbe_status rbe_blocks_check(const rbe_blocks *blocks);

/* What a compressed matrix is and what it costs. All bytes are those of the memory it holds. */
typedef struct rbe_blocks_info {
    size_t out, in, block, grid_rows, grid_cols, group;
    const rbe_transform *row_transform, *column_transform;
    bool has_alpha;
    size_t coefficients;   /* stored residual values */
    size_t alphas;         /* 8 per block, or 0 */
    size_t value_bytes;    /* coefficients */
    size_t position_bytes; /* columns and list pointers */
    size_t alpha_bytes;
    size_t overlap;
    size_t image_height, image_width; /* 0 without */
} rbe_blocks_info;

/* Zeros for NULL. */
RBE_API rbe_blocks_info rbe_blocks_describe(const rbe_blocks *blocks);

#ifdef __cplusplus
}
#endif
#endif
