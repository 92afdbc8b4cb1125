/* How many values each layer of a network may hold, and how many the whole network.
 *
 *     share of a layer ~ fan_in + fan_out, at most fan_in * fan_out            (Erdos-Renyi, Mocanu et al. 2018)
 *
 * A share proportional to fan_in * fan_out would leave next to nothing for the narrow last layer, through which
 * everything passes. What a layer cannot use goes to the others.
 */
#include "base/alloc.h"
#include "rbe/adapt.h"

/* What `layer` gets of `rest` values if `width` is the joint fan of all layers that still share: rest fan / width,
 * rounded down. Neither product has more than 128 bits. */
static size_t share(const rbe_layer_shape *layer, size_t rest, size_t width) {
    return (size_t)((unsigned __int128)rest * (layer->in + layer->out) / width);
}

/* Its widths, whose sum is to be counted. */
static rbe_status add_width(const rbe_layer_shape *layer, size_t number, size_t *width) {
    if (layer->in == 0 || layer->out == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "budget: layer %zu: expected widths of at least 1, found %zu x %zu",
                        number, layer->out, layer->in);
    if (layer->in > SIZE_MAX - *width || layer->out > SIZE_MAX - *width - layer->in)
        return rbe_fail(RBE_INVALID_ARGUMENT, "budget: the widths up to layer %zu, %zu x %zu, add up to more than %zu",
                        number, layer->out, layer->in, SIZE_MAX);
    *width += layer->in + layer->out;
    return RBE_OK;
}

/* Gives the layers that would get more than a dense one what they need; says whether there was one. */
static bool settle_full(const rbe_layer_shape *shapes, size_t count, size_t *rest, size_t *width, size_t *budgets) {
    bool any = false;
    for (size_t n = 0; n < count; n++) {
        size_t dense = rbe_product(shapes[n].in, shapes[n].out);
        if (budgets[n] > 0 || share(&shapes[n], *rest, *width) < dense) continue;
        budgets[n] = dense;
        *rest -= dense;
        *width -= shapes[n].in + shapes[n].out;
        any = true;
        if (*width == 0) break;
    }
    return any;
}

rbe_status rbe_budget_values(const rbe_layer_shape *shapes, size_t count, size_t values, size_t *budgets) {
    if (!shapes || !budgets || count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "budget: expected shapes of layers and a place for the result");
    size_t width = 0, rest = values;
    for (size_t n = 0; n < count; n++) {
        RBE_TRY(add_width(&shapes[n], n, &width));
        budgets[n] = 0;
    }
    while (width > 0 && settle_full(shapes, count, &rest, &width, budgets)) {
    }
    if (width == 0) return RBE_OK;
    for (size_t n = 0; n < count; n++) {
        if (budgets[n] > 0) continue;
        size_t fan = shapes[n].in + shapes[n].out;
        budgets[n] = share(&shapes[n], rest, width);
        if (budgets[n] == 0)
            return rbe_fail(RBE_INSUFFICIENT_COMPRESSION, "budget: %zu values leave none for layer %zu (%zu x %zu)",
                            values, n, shapes[n].out, shapes[n].in);
        rest -= budgets[n];
        width -= fan;
    }
    return RBE_OK;
}

rbe_status rbe_budget_fit(size_t bytes, size_t least, size_t most,
                          rbe_status (*measure)(void *user, size_t values, size_t *bytes), void *user, size_t *values) {
    if (!measure || !values || least > most)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "budget: expected a measure, a result and least <= most, found %zu and %zu", least, most);
    size_t found;
    RBE_TRY(measure(user, least, &found));
    if (found > bytes)
        return rbe_fail(RBE_INSUFFICIENT_COMPRESSION,
                        "budget: expected at least the %zu bytes of the smallest model, found %zu", found, bytes);
    size_t fits = least;
    while (fits < most) {
        size_t middle = most - (most - fits) / 2;
        RBE_TRY(measure(user, middle, &found));
        if (found <= bytes)
            fits = middle;
        else
            most = middle - 1;
    }
    *values = fits;
    return RBE_OK;
}
