/* The compressed matrix: made, freed, described. */
#include "codec/blocks.h"

#include "base/alloc.h"

static rbe_status make_sides(rbe_blocks *b, const rbe_geometry *geometry) {
    b->output_side = rbe_side_plain(geometry->out);
    b->input_side = rbe_side_plain(geometry->in);
    if (geometry->overlap)
        RBE_TRY(rbe_side_overlap(&b->output_side, geometry->out, geometry->block, geometry->overlap));
    if (geometry->image_height) return rbe_side_image(&b->input_side, geometry->image_height, geometry->image_width);
    return geometry->overlap ? rbe_side_overlap(&b->input_side, geometry->in, geometry->block, geometry->overlap)
                             : RBE_OK;
}

rbe_blocks *rbe_blocks_new(const rbe_geometry *geometry) {
    rbe_blocks *b = rbe_alloc_zeroed(1, sizeof *b);
    if (!b) return NULL;
    bool whole = make_sides(b, geometry) == RBE_OK;
    b->out = b->output_side.mapped;
    b->in = b->input_side.mapped;
    b->block = geometry->block;
    while (((size_t)1 << b->log2_block) < b->block) b->log2_block++;
    b->grid_rows = geometry->grid_rows;
    b->grid_cols = geometry->grid_cols;
    b->group = geometry->group;
    b->groups = (b->grid_rows + b->group - 1) / b->group;
    b->row_transform = geometry->row_transform;
    b->column_transform = geometry->column_transform;
    b->list_start = rbe_alloc_zeroed(b->groups * b->block + 1, sizeof *b->list_start);
    whole = whole && b->list_start;
    if (geometry->has_alpha) {
        b->alpha = rbe_alloc_zeroed(RBE_BASIS_COUNT * b->grid_rows * b->grid_cols, sizeof *b->alpha);
        b->basis = rbe_basis_new(b->block);
        whole = whole && b->alpha && b->basis;
    }
    if (whole) return b;
    rbe_blocks_free(b);
    return NULL;
}

rbe_status rbe_blocks_allocate(rbe_blocks *b) {
    size_t lists = b->groups * b->block;
    uint64_t entries = 0;
    b->value_count = 0;
    for (size_t list = 0; list < lists; list++) {
        uint32_t count = b->list_start[list + 1];
        b->value_count += count * rbe_group_rows(b, list / b->block);
        entries += count;
        if (entries > UINT32_MAX)
            return rbe_fail(RBE_INVALID_ARGUMENT, "a compressed matrix has at most %u positions", UINT32_MAX);
        b->list_start[list + 1] = (uint32_t)entries;
    }
    b->entries = entries;
    if (b->grid_cols * b->block <= 65536)
        b->columns16 = rbe_alloc_zeroed(b->entries + RBE_COLUMN_PADDING, sizeof *b->columns16);
    else
        b->columns32 = rbe_alloc_zeroed(b->entries + RBE_COLUMN_PADDING, sizeof *b->columns32);
    b->values = rbe_alloc_zeroed(b->value_count, sizeof *b->values);
    return (b->columns16 || b->columns32) && b->values ? RBE_OK : rbe_last_status();
}

void rbe_blocks_free(rbe_blocks *b) {
    if (!b) return;
    rbe_free(b->list_start);
    rbe_free(b->columns16);
    rbe_free(b->columns32);
    rbe_free(b->values);
    rbe_free(b->alpha);
    rbe_free(b->basis);
    rbe_side_free(&b->output_side);
    rbe_side_free(&b->input_side);
    rbe_free(b);
}

rbe_blocks_info rbe_blocks_describe(const rbe_blocks *b) {
    if (!b) return (rbe_blocks_info){0};
    size_t alphas = b->alpha ? RBE_BASIS_COUNT * b->grid_rows * b->grid_cols : 0;
    return (rbe_blocks_info){
        .out = b->output_side.length,
        .in = b->input_side.length,
        .block = b->block,
        .grid_rows = b->grid_rows,
        .grid_cols = b->grid_cols,
        .group = b->group,
        .overlap = b->output_side.overlap,
        .image_height = b->input_side.height,
        .image_width = b->input_side.width,
        .row_transform = b->row_transform,
        .column_transform = b->column_transform,
        .has_alpha = b->alpha != NULL,
        .coefficients = b->value_count,
        .alphas = alphas,
        .value_bytes = b->value_count * sizeof(float),
        .position_bytes =
            (b->entries + RBE_COLUMN_PADDING) * (b->columns16 ? sizeof *b->columns16 : sizeof *b->columns32) +
            (b->groups * b->block + 1) * sizeof *b->list_start,
        .alpha_bytes = alphas * sizeof(float),
    };
}
