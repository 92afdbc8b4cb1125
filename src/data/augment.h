/* Augmentation of images one by one, for loops that have their own tasks. */
#ifndef RBE_DATA_AUGMENT_H
#define RBE_DATA_AUGMENT_H

#include "data/warp.h"

/* Whether anything is to be done: NULL and zeros change nothing. */
static inline bool rbe_augment_changes(const rbe_augment_options *options) {
    return options && (options->affine > 0 || options->elastic > 0);
}

/* INVALID_ARGUMENT, beginning with `who`, for strengths that are none, and for data without images if they shall be
 * changed. NULL options are none. */
rbe_status rbe_augment_check(const char *who, const rbe_augment_options *options, const rbe_dataset *data);

/* The images of a data set that has some. */
rbe_image_shape rbe_image_shape_of(const rbe_dataset *data);

/* The warp of a sample: a function of the arguments alone. */
rbe_warp rbe_augment_draw(const rbe_augment_options *options, rbe_image_shape shape, size_t epoch, size_t sample);

/* Memory for `workers` that change images at the same time. NULL on failure, recorded; options that change something. */
typedef struct rbe_augmenter rbe_augmenter;
rbe_augmenter *rbe_augmenter_new(const rbe_augment_options *options, rbe_image_shape shape, size_t workers);
void rbe_augmenter_free(rbe_augmenter *augmenter); /* NULL is allowed */
size_t rbe_augmenter_workers(const rbe_augmenter *augmenter);

/* in, out: an image; they may be the same. */
void rbe_augmenter_run(const rbe_augmenter *augmenter, size_t worker, size_t epoch, size_t sample, const float *in,
                       float *out);

#endif
