/* Strips of a matrix and of its coefficients: two products with B x B matrices per strip, alphas by one small
 * product per row.
 *
 * Several threads work on strips of their own, and OpenBLAS, entered by each, on one thread for each (base/blas.h).
 */
#include "codec/strip.h"

#include <cblas.h>
#include <string.h>

#include "base/alloc.h"
#include "base/blas.h"
#include "codec/entries.h"

/* to = op(matrix) from for a strip of `width` columns */
static void transform_rows(size_t block, CBLAS_TRANSPOSE t, const double *matrix, size_t width, const double *from,
                           double *to) {
    int b = (int)block, columns = (int)width;
    cblas_dgemm(CblasRowMajor, t, CblasNoTrans, b, columns, b, 1.0, matrix, b, from, columns, 0.0, to, columns);
}

/* to = from op(matrix) for every block. Rows of blocks follow each other without gaps: B * width / B rows of B. */
static void transform_columns(size_t block, CBLAS_TRANSPOSE t, const double *matrix, size_t width, const double *from,
                              double *to) {
    int b = (int)block;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, t, (int)width, b, b, 1.0, from, b, matrix, b, 0.0, to, b);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

/* Both forms of a strip of eight blocks, the Psi_l. */
static void fill_psi(rbe_strips *s) {
    size_t block = s->b->block;
    for (size_t r = 0; r < block; r++)
        for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
            for (size_t c = 0; c < block; c++)
                s->psi[(r * RBE_BASIS_COUNT + l) * block + c] = rbe_basis_psi(s->b->basis, (int)l, r, c);
    transform_rows(block, CblasNoTrans, s->row_analysis, RBE_BASIS_COUNT * block, s->psi, s->half);
    transform_columns(block, CblasTrans, s->column_analysis, RBE_BASIS_COUNT * block, s->half, s->psi_hat);
}

/* How many numbers the arrays of a geometry hold. */
typedef struct sizes {
    size_t square, psi, half, doubles, floats;
} sizes;

static sizes sizes_of(const rbe_blocks *b) {
    size_t block = b->block;
    sizes n = {.square = block * block, .psi = b->alpha ? RBE_BASIS_COUNT * block * block : 0};
    /* room for the eight Psi_l too */
    n.half = block * block * (b->grid_cols < RBE_BASIS_COUNT ? RBE_BASIS_COUNT : b->grid_cols);
    n.doubles = 4 * n.square + 2 * n.psi + n.half;
    n.floats = block * (b->input_side.length + b->in) + rbe_side_scratch(&b->input_side, block, 1);
    return n;
}

rbe_status rbe_strips_new(rbe_strips *s, const rbe_blocks *b) {
    const sizes n = sizes_of(b);
    size_t block = b->block;
    *s = (rbe_strips){.b = b, .width = b->grid_cols * block};
    if (rbe_blas_enter(1) == 0) return rbe_last_status();
    s->inside_blas = true;
    s->row_analysis = rbe_alloc(n.doubles, sizeof(double));
    s->rows = rbe_alloc(n.floats, sizeof(float));
    if (!s->row_analysis || !s->rows) {
        rbe_strips_free(s);
        return rbe_last_status();
    }
    s->column_analysis = s->row_analysis + n.square;
    s->row_synthesis = s->column_analysis + n.square;
    s->column_synthesis = s->row_synthesis + n.square;
    s->half = s->column_synthesis + n.square;
    s->mapped = s->rows + block * b->input_side.length;
    s->scratch = s->mapped + block * b->in;
    rbe_transform_analysis_matrix(b->row_transform, block, s->row_analysis);
    rbe_transform_analysis_matrix(b->column_transform, block, s->column_analysis);
    rbe_transform_matrix(b->row_transform, block, s->row_synthesis);
    rbe_transform_matrix(b->column_transform, block, s->column_synthesis);
    if (!b->alpha) return RBE_OK;
    s->psi = s->half + n.half;
    s->psi_hat = s->psi + n.psi;
    fill_psi(s);
    return RBE_OK;
}

void rbe_strips_free(rbe_strips *s) {
    if (s->inside_blas) rbe_blas_leave(1);
    rbe_free(s->row_analysis);
    rbe_free(s->rows);
    *s = (rbe_strips){0};
}

/* ---- to coefficients ----------------------------------------------------------------------------------------- */

void rbe_strip_cut(rbe_strips *s, const rbe_row_source *source, size_t p, double *strip) {
    const rbe_blocks *b = s->b;
    size_t first = rbe_side_start(&b->output_side, b->block, p), rest = source->out - first;
    size_t count = rest < b->block ? rest : b->block;
    source->read(source->self, first, count, s->rows);
    const float *mapped = s->rows;
    if (b->input_side.kind != RBE_SIDE_PLAIN) {
        rbe_side_apply(&b->input_side, s->rows, count, 1, s->mapped, s->scratch);
        mapped = s->mapped;
    }
    memset(strip, 0, b->block * s->width * sizeof *strip);
    for (size_t r = 0; r < count; r++) {
        double window = (double)rbe_side_window(&b->output_side, p, r);
        for (size_t c = 0; c < b->in; c++) strip[r * s->width + c] = window * (double)mapped[r * b->in + c];
    }
}

void rbe_strip_project(const rbe_strips *s, const double *basis, const double *strip, double *alpha) {
    int block = (int)s->b->block, columns = (int)s->b->grid_cols;
    for (size_t r = 0; r < s->b->block; r++)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, columns, RBE_BASIS_COUNT, block, 1.0, strip + r * s->width,
                    block, basis + r * RBE_BASIS_COUNT * s->b->block, block, r > 0 ? 1.0 : 0.0, alpha, RBE_BASIS_COUNT);
}

void rbe_strip_add(const rbe_strips *s, const double *basis, double factor, const double *alpha, double *strip) {
    int block = (int)s->b->block, columns = (int)s->b->grid_cols;
    for (size_t r = 0; r < s->b->block; r++)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, columns, block, RBE_BASIS_COUNT, factor, alpha,
                    RBE_BASIS_COUNT, basis + r * RBE_BASIS_COUNT * s->b->block, block, 1.0, strip + r * s->width,
                    block);
}

void rbe_strip_analyse(rbe_strips *s, double *strip) {
    transform_rows(s->b->block, CblasNoTrans, s->row_analysis, s->width, strip, s->half);
    transform_columns(s->b->block, CblasTrans, s->column_analysis, s->width, s->half, strip);
}

/* ---- and back ------------------------------------------------------------------------------------------------ */

void rbe_strip_synthesise(rbe_strips *s, double *strip) {
    transform_columns(s->b->block, CblasNoTrans, s->column_synthesis, s->width, strip, s->half);
    transform_rows(s->b->block, CblasTrans, s->row_synthesis, s->width, s->half, strip);
}

void rbe_strip_decompress(rbe_strips *s, const rbe_blocks *b, size_t p, double *strip, float *rows) {
    size_t block = b->block;
    memset(strip, 0, block * s->width * sizeof *strip);
    for (rbe_walk at = rbe_walk_group(b, p / b->group); rbe_walk_next(&at);)
        strip[at.list.frequency * s->width + at.column] = (double)b->values[at.value + p % b->group];
    rbe_strip_synthesise(s, strip);
    if (b->alpha) {
        double *alpha = s->half;
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                alpha[q * RBE_BASIS_COUNT + l] = (double)*rbe_block_alpha(b, p, q, l);
        rbe_strip_add(s, s->psi, 1.0, alpha, strip);
    }
    float *mapped = b->input_side.kind == RBE_SIDE_PLAIN ? rows : s->mapped;
    for (size_t r = 0; r < block; r++)
        for (size_t c = 0; c < b->in; c++) mapped[r * b->in + c] = (float)strip[r * s->width + c];
    if (mapped != rows) rbe_side_adjoint(&b->input_side, mapped, block, 1, NULL, false, rows, s->scratch);
}

size_t rbe_block_reader_bytes(const rbe_blocks *b) {
    const sizes n = sizes_of(b);
    return (n.doubles + b->grid_cols * n.square) * sizeof(double) +
           (n.floats + b->block * b->input_side.length) * sizeof(float);
}

rbe_status rbe_block_reader_new(rbe_block_reader *reader, const rbe_blocks *b) {
    *reader = (rbe_block_reader){.held = SIZE_MAX};
    RBE_TRY(rbe_strips_new(&reader->strips, b));
    reader->strip = rbe_alloc(b->block * reader->strips.width, sizeof(double));
    reader->rows = rbe_alloc(b->block * b->input_side.length, sizeof(float));
    if (reader->strip && reader->rows) return RBE_OK;
    rbe_block_reader_free(reader);
    return rbe_last_status();
}

void rbe_block_reader_free(rbe_block_reader *reader) {
    rbe_strips_free(&reader->strips);
    rbe_free(reader->strip);
    rbe_free(reader->rows);
    *reader = (rbe_block_reader){0};
}

/* Adds what block row p holds of rows first .. first + count - 1. */
static void add_block_row(rbe_block_reader *reader, size_t p, size_t first, size_t count, float *rows) {
    const rbe_blocks *b = reader->strips.b;
    size_t in = b->input_side.length, start = rbe_side_start(&b->output_side, b->block, p);
    if (start >= first + count || start + b->block <= first) return;
    if (reader->held != p) rbe_strip_decompress(&reader->strips, b, p, reader->strip, reader->rows);
    reader->held = p;
    for (size_t r = 0; r < b->block; r++) {
        if (start + r < first || start + r >= first + count) continue;
        float window = rbe_side_window(&b->output_side, p, r);
        float *row = rows + (start + r - first) * in;
        for (size_t c = 0; c < in; c++) row[c] += window * reader->rows[r * in + c];
    }
}

void rbe_block_reader_read(void *self, size_t first, size_t count, float *rows) {
    rbe_block_reader *reader = self;
    const rbe_blocks *b = reader->strips.b;
    memset(rows, 0, count * b->input_side.length * sizeof *rows);
    for (size_t p = 0; p < b->grid_rows; p++) add_block_row(reader, p, first, count, rows);
}

rbe_status rbe_decompress_rows(const rbe_blocks *b, size_t first, size_t count, float *rows) {
    if (!b || !rows) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_decompress: a pointer is NULL");
    size_t out = b->output_side.length;
    if (first > out || count > out - first)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_decompress_rows: expected rows within 0 .. %zu, found %zu + %zu",
                        out, first, count);
    rbe_block_reader reader;
    RBE_TRY(rbe_block_reader_new(&reader, b));
    rbe_block_reader_read(&reader, first, count, rows);
    rbe_block_reader_free(&reader);
    return RBE_OK;
}

rbe_status rbe_decompress(const rbe_blocks *b, float *weights) {
    return rbe_decompress_rows(b, 0, b ? b->output_side.length : 0, weights);
}
