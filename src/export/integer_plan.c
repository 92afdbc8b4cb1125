/* The steps of a net in whole numbers, and its scales: how far each shift must go, so that no sum can leave int32_t and what a
 * layer hands on uses its 16 bits.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "export/integer.h"
#include "nn/layer.h"

void rbe_int_free(rbe_int_plan *plan) {
    for (size_t n = 0; n < plan->count; n++) {
        rbe_int_layer *l = &plan->layers[n];
        void *const arrays[] = {l->gaps,  l->used,    l->values,     l->scales,     l->bias,
                                l->steps, l->weights, l->cosines[0], l->cosines[1], l->cosines[2]};
        for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) rbe_free(arrays[k]);
    }
    rbe_free(plan->layers);
    *plan = (rbe_int_plan){.layers = NULL};
}

/* ---- which layers -------------------------------------------------------------------------------------------- */

typedef struct survey {
    rbe_int_plan *plan;
    bool counts;  /* and notes nothing */
    size_t count; /* layers with a matrix */
    const rbe_layer *last;
} survey;

static bool is_kind(const rbe_layer *layer, const char *kind) { return strcmp(layer->type->kind, kind) == 0; }

static rbe_status refuse(const rbe_layer *layer, const char *where) {
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: a layer of the kind \"%s\" cannot be exported with integer arithmetic%s",
                    layer->path, layer->type->kind, where);
}

static rbe_status see(survey *s, const rbe_layer *layer) {
    if (layer->type == &rbe_sequential_type) {
        for (size_t n = 0; n < layer->child_count; n++) RBE_TRY(see(s, layer->children[n]));
        return RBE_OK;
    }
    if (layer->type == &rbe_dropout_type) return RBE_OK;
    if (s->last) return refuse(s->last, " where another layer follows");
    rbe_int_plan *plan = s->plan;
    if (layer->type == &rbe_dense_type || layer->type == &rbe_linear_type) {
        if (!s->counts) plan->layers[s->count].layer = layer;
        if (++s->count <= RBE_MOST_STEPS) return RBE_OK;
        return rbe_fail(RBE_INVALID_ARGUMENT, "export: the model takes more than %d steps", RBE_MOST_STEPS);
    }
    if (is_kind(layer, "softmax") || is_kind(layer, "log_softmax")) {
        s->last = layer; /* keeps the order of its inputs */
        return RBE_OK;
    }
    if (!is_kind(layer, "relu")) return refuse(layer, "");
    if (s->count == 0) return refuse(layer, " before one with a matrix");
    if (!s->counts) plan->layers[s->count - 1].relu = true;
    return RBE_OK;
}

static rbe_status find_layers(rbe_exporter *x, rbe_int_plan *plan) {
    survey s = {.plan = plan, .counts = true};
    RBE_TRY(see(&s, x->model->root));
    if (s.count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "export: expected a layer with a matrix for integer arithmetic");
    plan->layers = rbe_alloc_zeroed(s.count, sizeof *plan->layers);
    if (!plan->layers) return rbe_last_status();
    plan->count = s.count;
    s = (survey){.plan = plan};
    RBE_TRY(see(&s, x->model->root));
    for (size_t n = 0, width = x->in; n < plan->count; n++) {
        const rbe_layer *layer = plan->layers[n].layer;
        if (layer->in != width)
            return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: takes %zu columns, the layer before gives %zu",
                            layer->path, layer->in, width);
        width = x->out = layer->out;
    }
    return RBE_OK;
}

/* ---- scratch memory ------------------------------------------------------------------------------------------ */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Routines may look at up to three numbers behind their inputs. */
static size_t with_end(size_t count) { return rbe_int_even(count + 3); }

/* Of the DCT of an image's lines or columns, or of a block: the rows, halves of a line, and a line, or the
 * cosines. */
static size_t transform_work(const rbe_int_layer *l) {
    const size_t longest = larger(larger(l->height, l->width), l->input_block), half = rbe_int_half(longest);
    return longest > 0 ? 2 * half * half + 4 * half + 4 * longest + 1 : 0;
}

/* Of a product: its inputs in 32 bits; of a compressed one the rows of a DCT back, a list, a group. */
static size_t product_work(const rbe_int_layer *l) {
    if (l->block == 0) return 2 * with_end(l->in);
    return (l->back ? l->block * l->block / 2 : 0) + 2 * l->longest + l->group * l->block;
}

/* Inputs and outputs are at the two ends of the memory, in turns, and the rest between them. What is needed before there are
 * outputs may take their place where they are at the end. */
static void place(rbe_int_plan *plan) {
    for (int again = 0; again < 2; again++) { /* the second time, with the size that the first has found */
        size_t in = plan->widens ? rbe_int_even(plan->layers[0].in) : 0;
        for (size_t n = 0; n < plan->count; n++) {
            rbe_int_layer *l = &plan->layers[n];
            const bool last = n + 1 == plan->count, at_end = n % 2 == 0;
            const size_t out = last ? 0 : rbe_int_even(l->out), low = at_end ? in : out, high = at_end ? out : in;
            l->from = at_end ? 0 : plan->scratch - in;
            l->to = at_end ? plan->scratch - out : 0;
            l->chosen = rbe_int_transforms(l) ? low : l->from;
            const size_t before = low + rbe_int_chosen(l) + transform_work(l) + (at_end ? 0 : high);
            l->work = low + (rbe_int_transforms(l) ? rbe_int_even(l->columns) : 0);
            plan->scratch = larger(plan->scratch, rbe_int_even(larger(before, l->work + product_work(l) + high)));
            in = out;
        }
    }
}

/* ---- what sums may be ---------------------------------------------------------------------------------------- */

/* The most that a layer's products may take, so that no sum is beyond int32_t. */
static int32_t most_of_columns(const rbe_int_layer *l) {
    const double most = 2147483647.0 / fmax(1.0, l->heaviest);
    return (int32_t)fmin(32766.0, floor(most)); /* below INT16_MAX: programs can ask whether more is given */
}

/* The same of its inputs. */
static int32_t most_of_inputs(const rbe_int_layer *l) {
    return l->width > 0 || l->input_block > 0 ? RBE_INT_FOLDED : most_of_columns(l);
}

/* Least shift that brings `bound` to `most`, and what is then the bound. */
static unsigned shift_to(double *bound, double most) {
    unsigned shift = 0;
    while (floor(*bound / pow(2.0, shift)) + 1.0 > most && shift < 30) shift++;
    *bound = fmin(most, floor(*bound / pow(2.0, shift)) + 1.0);
    return shift;
}

/* The most that a DCT of n numbers makes of magnitudes up to `bound`: of frequency 0, as no other has a larger sum of
 * cosines; rounding of cosines adds half of each. */
static double forward_bound(size_t n, double bound) {
    return (rbe_int_cosines(n, NULL) * M_SQRT1_2 + 0.5) * (double)n * bound;
}

/* A DCT of inputs: its shift, and what becomes of bound and scale. */
static unsigned forward(size_t n, double most, double *bound, double *scale) {
    *bound = forward_bound(n, *bound);
    const unsigned shift = shift_to(bound, most);
    *scale *= sqrt(2.0 / (double)n) / rbe_int_cosines(n, NULL) * pow(2.0, shift);
    return shift;
}

/* The least power of two that a row's step has, as an exponent; false unless no step has a larger one than the next. */
static bool least_exponent(const rbe_int_layer *l, int *least) {
    int most = INT_MIN;
    *least = INT_MAX;
    for (size_t n = 0; n < l->scale_count; n++) {
        if (!(l->steps[n] > 0.0f)) continue;
        const int exponent = ilogbf(l->steps[n]);
        if (exponent < *least) *least = exponent;
        if (exponent > most) most = exponent;
    }
    if (most == INT_MIN) *least = 0; /* all rows are 0 */
    return most <= *least + 1;
}

/* What a sum may be, before it is shifted: */
static double sum_of(const rbe_int_layer *l, size_t n, double bound) {
    return floor(bound * l->weights[n] / pow(2.0, l->first)) + 1.0;
}

/* Scales as steps have them, of 8 bits, and shifts. shifts: whether there is a second one. */
static void narrow_scales(rbe_int_layer *l, double bound, double scale, double most, double extra, bool shifts) {
    int least;
    double largest = 0.0;
    least_exponent(l, &least);
    const double step = pow(2.0, least - 7);
    for (size_t n = 0; n < l->scale_count; n++) {
        l->scales[n] = (uint16_t)(l->steps[n] > 0.0f ? lrint((double)l->steps[n] / step) : 128);
        largest = fmax(largest, sum_of(l, n, bound) * l->scales[n]);
    }
    l->second = shifts ? shift_to(&largest, most) : 0;
    l->unit = step * scale * pow(2.0, (double)(l->first + l->second));
    for (; l->unit < extra; l->unit *= 2.0) *(shifts ? &l->second : &l->first) += 1;
}

/* Any scales, of 15 bits. */
static void wide_scales(rbe_int_layer *l, double bound, double scale, double most, double extra, bool shifts) {
    double steepest = 0.0;
    const double cut = scale * pow(2.0, l->first);
    l->unit = extra;
    for (size_t n = 0; n < l->scale_count; n++) {
        l->unit = fmax(l->unit, (double)l->steps[n] * cut * sum_of(l, n, bound) / most);
        steepest = fmax(steepest, (double)l->steps[n] * cut);
    }
    if (!(l->unit > 0.0)) l->unit = 1.0;
    l->second = shifts ? 16 : 0;
    while (l->second > 0 && steepest / l->unit * pow(2.0, l->second) > 32767.0) l->second--;
    l->unit = fmax(l->unit, steepest * pow(2.0, l->second) / 32767.0);
    for (size_t n = 0; n < l->scale_count; n++)
        l->scales[n] = (uint16_t)lrint((double)l->steps[n] * cut / l->unit * pow(2.0, l->second));
}

/* Scales of the rows: a value is (sum >> first) scale, which may be >> second, and that times unit; it is at most `most`. Inputs
 * are at most `bound`, and count `scale`. extra: the least unit. */
static void scale_rows(const rbe_int_plan *plan, rbe_int_layer *l, double bound, double scale, double most,
                       double extra, bool shifts) {
    double largest = bound * l->heaviest;
    /* products with a scale, of 9 bits or about 11, are below 2^30 */
    l->first = shift_to(&largest, plan->narrow ? 2097152.0 : 524288.0);
    (plan->narrow ? narrow_scales : wide_scales)(l, bound, scale, most, extra, shifts);
}

/* All but the last shift, for inputs of at most `bound` and `scale`. */
static void scale_layer(const rbe_int_plan *plan, rbe_int_layer *l, double bound, double scale) {
    const double room = 536870912.0; /* of a bias: a quarter of 2^31 */
    double most_bias = 0.0, back = 1.0 / RBE_INT_UNIT;
    for (size_t n = 0; l->bias && n < l->out; n++) most_bias = fmax(most_bias, fabs((double)l->bias[n]));
    const double least = most_bias * l->bias_step / (0.25 * room);
    if (l->width > 0) {
        l->shifts[0] = forward(l->width, RBE_INT_FOLDED, &bound, &scale);
        l->shifts[1] = forward(l->height, most_of_columns(l), &bound, &scale);
    } else if (l->input_block > 0)
        l->shifts[0] = forward(l->input_block, most_of_columns(l), &bound, &scale);
    if (l->block == 0)
        scale_rows(plan, l, bound, scale, 2.0 * room, least, false);
    else {
        if (l->back) back = sqrt(2.0 / (double)l->block) / rbe_int_cosines(l->block, NULL);
        scale_rows(plan, l, bound, scale, RBE_INT_FOLDED - 1.0, least / back, true);
        l->unit *= back;
    }
    l->factor = (int32_t)lrint(l->bias_step / l->unit);
}

/* ---- ranges -------------------------------------------------------------------------------------------------- */

/* What the net takes: bytes if all samples are pixels. */
static rbe_status scale_inputs(const rbe_exporter *x, rbe_int_plan *plan) {
    const size_t count = x->o.input_count * x->in;
    float most = 0.0f;
    plan->pixels = true;
    for (size_t n = 0; n < count; n++) {
        const float pixel = rintf(x->o.inputs[n] * 255.0f);
        if (!(pixel >= 0.0f && pixel <= 255.0f) || pixel / 255.0f != x->o.inputs[n]) plan->pixels = false;
        most = fmaxf(most, fabsf(x->o.inputs[n]));
    }
    plan->largest = most_of_inputs(&plan->layers[0]);
    if (plan->pixels) plan->largest = 255;
    plan->scale = plan->pixels ? 1.0 / 255.0 : most > 0.0f ? (double)most / plan->largest : 1.0;
    if (most_of_inputs(&plan->layers[0]) >= 255) {
        /* an image widens its lines by itself */
        size_t images = 0;
        for (size_t n = 0; n < plan->count; n++) images += plan->layers[n].width > 0;
        plan->widens = plan->pixels && !(plan->layers[0].width > 0 && images == 1);
        return RBE_OK;
    }
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: its sums do not fit into 32 bits", plan->layers[0].layer->path);
}

/* The largest magnitude of what layer n has before its last shift. */
static double largest_sum(const rbe_exporter *x, const rbe_int_plan *plan, size_t n, int16_t *inputs, int32_t *y,
                          int16_t *scratch) {
    double largest = 0.0;
    for (size_t s = 0; s < x->o.input_count; s++) {
        rbe_int_run(plan, n + 1, x->o.inputs + s * x->in, inputs, y, scratch);
        for (size_t i = 0; i < plan->layers[n].out; i++) largest = fmax(largest, fabs((double)y[i]));
    }
    return largest;
}

static rbe_status scale_layers(const rbe_exporter *x, rbe_int_plan *plan, int16_t *inputs, int32_t *y,
                               int16_t *scratch) {
    double bound = plan->largest, scale = plan->scale;
    for (size_t n = 0; n < plan->count; n++) {
        rbe_int_layer *l = &plan->layers[n];
        scale_layer(plan, l, bound, scale);
        if (n + 1 == plan->count) return RBE_OK;
        l->most = most_of_inputs(l + 1);
        if (l->most < 255)
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: its sums do not fit into 32 bits", l[1].layer->path);
        double largest = 1.25 * largest_sum(x, plan, n, inputs, y, scratch); /* samples do not show the largest */
        l->last = shift_to(&largest, l->most);
        bound = l->most;
        scale = l->unit * pow(2.0, l->last);
    }
    return RBE_OK;
}

rbe_status rbe_int_make(rbe_exporter *x, rbe_int_plan *plan) {
    if (x->o.input_count == 0) {
        x->o.inputs = x->o.samples;
        x->o.input_count = x->o.sample_count;
    }
    if (x->o.input_count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "export: expected samples for the ranges of integer arithmetic, found none");
    RBE_TRY(find_layers(x, plan));
    for (size_t n = 0; n < plan->count; n++) {
        RBE_TRY(rbe_int_code(x, &plan->layers[n]));
        plan->most_outputs = larger(plan->most_outputs, plan->layers[n].out);
    }
    plan->narrow = true;
    for (size_t n = 0; n < plan->count; n++) {
        int least;
        plan->narrow = plan->narrow && least_exponent(&plan->layers[n], &least);
    }
    RBE_TRY(scale_inputs(x, plan));
    place(plan);
    int16_t *inputs = rbe_alloc(x->in, sizeof *inputs), *scratch = rbe_alloc_zeroed(plan->scratch, sizeof *scratch);
    int32_t *y = rbe_alloc(plan->most_outputs, sizeof *y);
    const rbe_status status =
        inputs && scratch && y ? scale_layers(x, plan, inputs, y, scratch) : RBE_INSUFFICIENT_MEMORY;
    rbe_free(inputs);
    rbe_free(scratch);
    rbe_free(y);
    return status;
}
