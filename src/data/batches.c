/* Batches in a seeded random order.
 *
 * The order of epoch e is a Fisher-Yates shuffle of 0 .. count - 1: for i = count - 1 .. 1, swap i with
 *
 *     j = floor((i + 1) u / 2^32),   u = the high 32 bits of splitmix64(splitmix64(seed) + splitmix64(~e) + i STEP)
 *
 * It is a function of (seed, e) alone: no generator is kept, and a running epoch allocates nothing. No j is
 * likelier than another by more than a factor of 1 + (i + 1) / 2^32.
 *
 * Of S ranks, rank r takes the samples from ceil(r R / S) to ceil((r + 1) R / S) of a batch of R: rank 0 has as many as any.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "base/splitmix.h"
#include "data/augment.h"
#include "data/batches.h"
#include "data/dataset.h"

struct rbe_batches {
    const rbe_dataset *data;
    size_t batch; /* of all ranks */
    size_t rank, ranks;
    rbe_share share; /* of the batch before */
    size_t epoch;
    size_t next; /* place in the order where the next batch begins */
    uint64_t seed;
    uint32_t *order;          /* count: sample at each place; NULL: as they stand */
    rbe_augmenter *augmenter; /* NULL: images stay as they are */
    /* Of this rank's share of `batch` rows each; NULL where the data set has none. */
    float *x;
    int32_t *tokens, *labels;
    float *targets, *weights;
};

/* Room for the rows of a batch; *made says whether that went well. */
static void *rows_of(const rbe_batches *batches, bool wanted, size_t width, bool *made) {
    if (!wanted || !*made) return NULL;
    _Static_assert(sizeof(float) == sizeof(int32_t), "one size serves both");
    void *rows = rbe_alloc(rbe_pieces(batches->batch, batches->ranks) * width, sizeof(float));
    *made = rows != NULL;
    return rows;
}

static bool make_rows(rbe_batches *b, const rbe_dataset *data) {
    bool made = true;
    b->x = rows_of(b, !data->tokens, data->features, &made);
    b->tokens = rows_of(b, data->tokens, data->features, &made);
    b->labels = rows_of(b, data->labels, rbe_label_width(data), &made);
    b->targets = rows_of(b, data->targets, data->target_width, &made);
    b->weights = rows_of(b, data->weights, 1, &made);
    return made;
}

rbe_batches *rbe_batches_new(const rbe_dataset *data, size_t batch, bool shuffle, uint64_t seed) {
    return rbe_batches_new_shared(data, batch, shuffle, seed, 0, 1);
}

rbe_batches *rbe_batches_new_shared(const rbe_dataset *data, size_t batch, bool shuffle, uint64_t seed, size_t rank,
                                    size_t ranks) {
    if (rbe_dataset_check("rbe_batches_new", data) != RBE_OK) return NULL;
    if (batch < 1 || data->count > UINT32_MAX) {
        rbe_fail(RBE_INVALID_ARGUMENT, "batches need a size of at least 1 and 1 .. 2^32 - 1 samples, found %zu and %zu",
                 batch, data->count);
        return NULL;
    }
    if (batch > data->count) batch = data->count;
    rbe_batches *batches = rbe_alloc_zeroed(1, sizeof(rbe_batches));
    if (!batches) return NULL;
    *batches = (rbe_batches){.data = data, .batch = batch, .rank = rank, .ranks = ranks, .seed = seed};
    if (shuffle) batches->order = rbe_alloc(data->count, sizeof(uint32_t));
    if ((shuffle && !batches->order) || !make_rows(batches, data)) {
        rbe_batches_free(batches);
        return NULL;
    }
    rbe_batches_start(batches, 0);
    return batches;
}

void rbe_batches_free(rbe_batches *batches) {
    if (!batches) return;
    rbe_augmenter_free(batches->augmenter);
    rbe_free(batches->order);
    rbe_free(batches->x);
    rbe_free(batches->tokens);
    rbe_free(batches->labels);
    rbe_free(batches->targets);
    rbe_free(batches->weights);
    rbe_free(batches);
}

void rbe_batches_start(rbe_batches *batches, size_t epoch) {
    if (!batches) return;
    uint32_t count = (uint32_t)batches->data->count, *order = batches->order;
    batches->next = 0;
    batches->epoch = epoch;
    if (!order) return;
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    uint64_t key = rbe_splitmix64(batches->seed) + rbe_splitmix64(~(uint64_t)epoch);
    for (uint32_t i = count - 1; i > 0; i--) {
        uint64_t u = rbe_splitmix64(key + i * RBE_SPLITMIX_STEP) >> 32;
        uint32_t j = (uint32_t)(u * ((uint64_t)i + 1) >> 32), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static void pixels_to_floats(const uint8_t *restrict pixels, float *restrict x, size_t count) {
    for (size_t j = 0; j < count; j++) x[j] = (float)pixels[j] / 255.0f;
}

/* Row `to` from row `from`; nothing if there are no rows. */
static void copy_row(void *rows, size_t to, const void *source, size_t from, size_t bytes) {
    if (rows) memcpy((char *)rows + to * bytes, (const char *)source + from * bytes, bytes);
}

/* The same of ids, whose rows may overlap in the source. */
static void copy_ids(const rbe_dataset *data, int32_t *rows, size_t to, const int32_t *source, size_t from,
                     size_t width) {
    if (rows) memcpy(rows + to * width, source + from * rbe_stride(data, width), width * sizeof *rows);
}

static void copy_sample(const rbe_batches *b, size_t row, size_t sample) {
    const rbe_dataset *data = b->data;
    size_t features = data->features, bytes = features * sizeof(float);
    if (data->pixels)
        pixels_to_floats(data->pixels + sample * features, b->x + row * features, features);
    else
        copy_row(b->x, row, data->values, sample, bytes);
    copy_ids(data, b->tokens, row, data->tokens, sample, features);
    copy_ids(data, b->labels, row, data->labels, sample, rbe_label_width(data));
    copy_row(b->targets, row, data->targets, sample, data->target_width * sizeof(float));
    copy_row(b->weights, row, data->weights, sample, sizeof(float));
}

enum { SAMPLES_OF_A_TASK = 16 };

typedef struct filling {
    const rbe_batches *batches;
    size_t first, rows; /* place in the order of the first of them */
} filling;

static void fill_rows(void *context, size_t task, size_t worker) {
    const filling *f = context;
    const rbe_batches *b = f->batches;
    const size_t first = task * SAMPLES_OF_A_TASK, end = rbe_at_most(first + SAMPLES_OF_A_TASK, f->rows);
    for (size_t r = first; r < end; r++) {
        const size_t place = f->first + r, sample = b->order ? b->order[place] : place;
        copy_sample(b, r, sample);
        if (!b->augmenter) continue;
        float *x = b->x + r * b->data->features;
        rbe_augmenter_run(b->augmenter, worker, b->epoch, sample, x, x);
    }
}

static void fill(const rbe_batches *b, size_t first, size_t rows) {
    filling f = {b, first, rows};
    size_t threads = (size_t)rbe_threads();
    if (b->augmenter) threads = rbe_at_most(threads, rbe_augmenter_workers(b->augmenter));
    rbe_parallel(threads, rbe_pieces(rows, SAMPLES_OF_A_TASK), fill_rows, &f);
}

/* This rank's share of `rows` samples. */
static rbe_share share_of(const rbe_batches *b, size_t rows) {
    if (b->ranks == 1) return (rbe_share){0};
    const size_t first = rbe_pieces(b->rank * rows, b->ranks), end = rbe_pieces((b->rank + 1) * rows, b->ranks);
    if (first == end) return (rbe_share){.first = rows, .samples = 1, .idle = true};
    return (rbe_share){.first = first, .samples = end - first};
}

rbe_share rbe_batches_share(const rbe_batches *batches) { return batches->share; }

bool rbe_batches_next(rbe_batches *batches, rbe_batch *batch) {
    if (!batches) return false;
    const rbe_dataset *data = batches->data;
    static const float no_weight = 0.0f;
    const size_t left = data->count - batches->next, all = rbe_at_most(left, batches->batch);
    if (all == 0) return false;
    const rbe_share share = batches->share = share_of(batches, all);
    const size_t rows = share.samples > 0 ? share.samples : all;
    fill(batches, batches->next + (share.idle ? 0 : share.first), rows);
    batches->next += all;
    *batch =
        (rbe_batch){.tokens = batches->tokens, .labels = batches->labels, .weights = batches->weights, .rows = rows};
    if (batches->tokens) batch->token_width = data->features;
    if (batches->x) batch->x = rbe_tensor_2d(batches->x, rows, data->features);
    if (batches->labels) batch->label_width = rbe_label_width(data);
    if (batches->targets) batch->targets = rbe_tensor_2d(batches->targets, rows, data->target_width);
    if (share.idle) batch->weights = &no_weight;
    return true;
}

void rbe_batches_skip(rbe_batches *batches, size_t count) {
    if (!batches) return;
    size_t left = batches->data->count - batches->next;
    batches->next += count > left / batches->batch ? left : count * batches->batch;
}

rbe_status rbe_batches_augment(rbe_batches *batches, const rbe_augment_options *options) {
    if (!batches) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_batches_augment: the batches are NULL");
    RBE_TRY(rbe_augment_check("rbe_batches_augment", options, batches->data));
    rbe_augmenter *made = NULL;
    if (rbe_augment_changes(options)) {
        const size_t rows = rbe_pieces(batches->batch, batches->ranks);
        const size_t tasks = rbe_pieces(rows, SAMPLES_OF_A_TASK);
        made = rbe_augmenter_new(options, rbe_image_shape_of(batches->data), rbe_at_most((size_t)rbe_threads(), tasks));
        if (!made) return rbe_last_status();
    }
    rbe_augmenter_free(batches->augmenter);
    batches->augmenter = made;
    return RBE_OK;
}

size_t rbe_batches_per_epoch(const rbe_batches *batches) {
    return batches ? (batches->data->count + batches->batch - 1) / batches->batch : 0;
}
