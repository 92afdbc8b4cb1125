/* Filters from GSL, by the method of a wavelet itself: gsl_wavelet_alloc would allocate, only to call it. It cannot fail for
 * the members of the table of transforms. */
#include "codec/filters.h"

#include <gsl/gsl_wavelet.h>

static const gsl_wavelet_type *family_of(const rbe_transform *transform) {
    switch (transform->kind) {
    case RBE_TRANSFORM_HAAR: return gsl_wavelet_haar;
    case RBE_TRANSFORM_BSPLINE: return gsl_wavelet_bspline;
    default: return gsl_wavelet_daubechies;
    }
}

void rbe_transform_filters(const rbe_transform *transform, rbe_filters *analysis, rbe_filters *synthesis) {
    size_t offset;
    family_of(transform)->init(&analysis->low, &analysis->high, &synthesis->low, &synthesis->high, &analysis->taps,
                               &offset, transform->member);
    synthesis->taps = analysis->taps;
}
