/* Which of the warps this processor can run, and what they are given: weights of the bicubic field, memory. */
#include "data/warp.h"

#include <math.h>

#include "base/alloc.h"
#include "base/processor.h"
#include "base/sizes.h"

enum {
    FRAME = 3,          /* rows and columns of zeros */
    STRIP_PIXELS = 1024 /* with all that is known of them they stay in the first cache */
};

rbe_warp_function *rbe_warp_here(void) {
#if defined(__x86_64__)
    if (rbe_processor_has_avx512()) return rbe_warp_avx512;
    if (rbe_processor_has_avx2()) return rbe_warp_avx2;
#endif
    return rbe_warp_portable;
}

/* ---- the bicubic field --------------------------------------------------------------------------------------- */

/* Keys's cubic convolution. */
static double cubic(double distance) {
    const double a = -0.75, t = fabs(distance);
    if (t <= 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    if (t < 2.0) return ((t - 5.0) * t + 8.0) * t * a - 4.0 * a;
    return 0.0;
}

/* What the nodes of an axis weigh at a pixel. Nodes beyond the outermost have its value, so it has their weights. */
static void weigh_nodes(size_t pixel, size_t length, double weight[RBE_WARP_NODES]) {
    const double place = ((double)pixel + 0.5) * RBE_WARP_NODES / (double)length - 0.5;
    const int before = (int)floor(place), last = RBE_WARP_NODES - 1;
    for (int n = 0; n <= last; n++) weight[n] = 0.0;
    for (int n = before - 1; n <= before + 2; n++) weight[n < 0 ? 0 : n > last ? last : n] += cubic(place - n);
}

static void weigh_across(const rbe_warp_plan *plan) {
    double weight[RBE_WARP_NODES];
    for (size_t x = 0; x < plan->shape.width; x++) {
        weigh_nodes(x, plan->shape.width, weight);
        for (size_t n = 0; n < RBE_WARP_NODES; n++) plan->across[n * plan->shape.width + x] = (float)weight[n];
    }
}

/* No more than four nodes in a row weigh something. */
static void weigh_down(const rbe_warp_plan *plan) {
    double weight[RBE_WARP_NODES];
    for (size_t y = 0; y < plan->shape.height; y++) {
        uint32_t first = 0;
        weigh_nodes(y, plan->shape.height, weight);
        while (first < RBE_WARP_NODES - RBE_WARP_TAPS && weight[first] == 0.0) first++;
        for (size_t n = 0; n < RBE_WARP_TAPS; n++) plan->down[y * RBE_WARP_TAPS + n] = (float)weight[first + n];
        plan->first[y] = first;
    }
}

rbe_status rbe_warp_plan_new(rbe_warp_plan *plan, rbe_image_shape shape) {
    const size_t stride = shape.width + FRAME, rows = shape.height + FRAME;
    *plan = (rbe_warp_plan){0};
    if (shape.width > INT32_MAX - FRAME || shape.height > INT32_MAX - FRAME || stride > INT32_MAX / rows)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected an image of fewer than 2^31 pixels, found %zu x %zu",
                        shape.height, shape.width);
    plan->shape = shape;
    plan->stride = stride;
    plan->framed = stride * rows;
    plan->strip = rbe_at_least(STRIP_PIXELS / shape.width, 1);
    plan->most[0] = (float)(shape.width + 1);
    plan->most[1] = (float)(shape.height + 1);
    plan->across = rbe_alloc(RBE_WARP_NODES * shape.width, sizeof(float));
    if (plan->across) plan->down = rbe_alloc(RBE_WARP_TAPS * shape.height, sizeof(float));
    if (plan->down) plan->first = rbe_alloc(shape.height, sizeof(uint32_t));
    if (!plan->first) return RBE_INSUFFICIENT_MEMORY;
    weigh_across(plan);
    weigh_down(plan);
    return RBE_OK;
}

void rbe_warp_plan_free(rbe_warp_plan *plan) {
    rbe_free(plan->across);
    rbe_free(plan->down);
    rbe_free(plan->first);
    *plan = (rbe_warp_plan){0};
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* One block: first the framed image, of which the frame stays zero from then on. */
rbe_status rbe_warp_scratch_new(rbe_warp_scratch *scratch, const rbe_warp_plan *plan) {
    const size_t width = plan->shape.width, strip = rbe_at_most(plan->strip, plan->shape.height) * width;
    const size_t framed = rbe_product(plan->shape.channels, plan->framed);
    const size_t others = 2 * RBE_WARP_NODES * width + 3 * strip;
    float *at = rbe_alloc_zeroed(framed > SIZE_MAX - others ? SIZE_MAX : framed + others, sizeof(float));
    *scratch = (rbe_warp_scratch){.framed = at};
    if (!at) return RBE_INSUFFICIENT_MEMORY;
    scratch->bent[0] = at + framed;
    scratch->bent[1] = scratch->bent[0] + RBE_WARP_NODES * width;
    scratch->x = scratch->bent[1] + RBE_WARP_NODES * width;
    scratch->y = scratch->x + strip;
    scratch->pixel = (int32_t *)(void *)(scratch->y + strip);
    return RBE_OK;
}

void rbe_warp_scratch_free(rbe_warp_scratch *scratch) {
    rbe_free(scratch->framed);
    *scratch = (rbe_warp_scratch){0};
}
