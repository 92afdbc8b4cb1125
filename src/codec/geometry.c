/* What options mean for a matrix: they are checked, and geometry and budget follow. */
#include "codec/geometry.h"

#include <math.h>

#include "base/sizes.h"
#include "codec/side.h"

/* The ratio that would leave one coefficient is rounded down to what the text shows. */
static rbe_status no_budget(const rbe_geometry *geometry, double ratio) {
    size_t values = geometry->out * geometry->in;
    size_t alphas = geometry->has_alpha ? RBE_BASIS_COUNT * geometry->grid_rows * geometry->grid_cols : 0;
    if (values <= alphas)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "alpha: a %zu x %zu matrix is too small: its %zu values leave none beside %zu alphas; "
                        "expected alpha off",
                        geometry->out, geometry->in, values, alphas);
    double most = floor(100.0 * (double)values / (double)(alphas + 1)) / 100.0;
    return rbe_fail(RBE_INVALID_ARGUMENT,
                    "ratio: a %zu x %zu matrix is too small for %g: %zu / %g values leave no coefficients beside %zu "
                    "alphas; expected at most %.10g",
                    geometry->out, geometry->in, ratio, values, ratio, alphas, most);
}

/* Fills value_limit and has_alpha. */
static rbe_status set_budget(rbe_geometry *geometry, const rbe_compress_options *o) {
    size_t blocks = geometry->grid_rows * geometry->grid_cols, alphas = RBE_BASIS_COUNT * blocks;
    size_t square = geometry->block * geometry->block;
    if (o->coeffs > square)
        return rbe_fail(RBE_INVALID_ARGUMENT, "coeffs: expected 1 .. %zu (block size squared), found %zu", square,
                        o->coeffs);
    if (o->coeffs > 0 && o->ratio != 0.0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected coeffs or ratio, found both (%zu and %g)", o->coeffs, o->ratio);
    if (o->ratio != 0.0 && !(o->ratio >= 1.0 && isfinite(o->ratio)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "ratio: expected at least 1, found %g", o->ratio);

    double ratio = o->ratio != 0.0 ? o->ratio : 16.0;
    double budget =
        o->coeffs > 0 ? (double)(o->coeffs * blocks) : floor((double)geometry->out * (double)geometry->in / ratio);
    bool automatic = geometry->image_height == 0 && (double)alphas <= budget / 5.0;
    geometry->has_alpha = o->alpha == RBE_ALPHA_ON || (o->alpha == RBE_ALPHA_AUTO && automatic);
    geometry->coeffs = o->coeffs;
    if (geometry->has_alpha && o->coeffs == 0) budget -= (double)alphas;
    if (o->target_error > 0.0) budget = (double)(square * blocks); /* it is searched for */
    if (budget < 1.0) return no_budget(geometry, ratio);
    geometry->value_limit = (size_t)fmin(budget, (double)(square * blocks));
    return RBE_OK;
}

rbe_status rbe_geometry_make(rbe_geometry *geometry, size_t out, size_t in, const rbe_compress_options *options,
                             size_t default_group) {
    static const rbe_compress_options defaults = {0};
    const rbe_compress_options *o = options ? options : &defaults;
    const size_t most = (size_t)1 << 24;
    if (out < 1 || out > most || in < 1 || in > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "matrix: expected extents of 1 .. %zu, found %zu x %zu", most, out, in);
    size_t block = o->block ? o->block : 32;
    if (!rbe_block_size_valid(block))
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected a power of two, 8 .. 256, found %zu", block);
    if (o->alpha != RBE_ALPHA_AUTO && o->alpha != RBE_ALPHA_ON && o->alpha != RBE_ALPHA_OFF)
        return rbe_fail(RBE_INVALID_ARGUMENT, "alpha: expected auto, on or off, found %d", (int)o->alpha);
    bool image = o->image_height > 0 || o->image_width > 0;
    if (image && (o->image_height > most || o->image_width > most || o->image_height * o->image_width != in))
        return rbe_fail(RBE_INVALID_ARGUMENT, "image: expected height x width of %zu inputs, found %zu x %zu", in,
                        o->image_height, o->image_width);
    if (o->overlap > block / 2)
        return rbe_fail(RBE_INVALID_ARGUMENT, "overlap: expected 0 .. %zu (half a block), found %zu", block / 2,
                        o->overlap);
    size_t column_overlap = image ? 0 : o->overlap;
    size_t padded_out = o->overlap ? rbe_overlap_mapped(out, block, o->overlap) : out;
    size_t padded_in = column_overlap ? rbe_overlap_mapped(in, block, column_overlap) : in;
    *geometry = (rbe_geometry){
        .out = out,
        .in = in,
        .block = block,
        .grid_rows = (padded_out + block - 1) / block,
        .grid_cols = (padded_in + block - 1) / block,
        .overlap = o->overlap,
        .image_height = o->image_height,
        .image_width = o->image_width,
        .row_transform = o->row_transform ? o->row_transform : rbe_transform_named("dct"),
        .column_transform = o->column_transform ? o->column_transform : rbe_transform_named(image ? "identity" : "dct"),
    };
    geometry->group = rbe_at_most(o->group ? o->group : default_group, geometry->grid_rows);
    return set_budget(geometry, o);
}
