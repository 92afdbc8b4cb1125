/* The inside of parameters: their arrays as a list, for what has to do the same with all of them. */
#ifndef RBE_NN_PARAM_H
#define RBE_NN_PARAM_H

#include <stdint.h>

#include "rbe/nn.h"

/* An array of a parameter's layout beside its value and gradient. */
typedef struct rbe_companion {
    char name[RBE_NAME_SIZE];
    float *values;
    struct rbe_companion *next;
} rbe_companion;

/* A place in a parameter where the pointer to one of its arrays stands: 0 the value, 1 the gradient (which may be NULL),
 * then the companions; NULL past the last. */
float **rbe_param_array(rbe_param *param, size_t n);

/* Puts the library's memory `array` in the place of array number n, which is freed: after the count has changed. The
 * value belongs to the layer: not for n = 0. */
void rbe_param_replace_array(rbe_param *param, size_t n, float *array);

/* Puts the library's memory `values`, of the present or coming count, in the place of a companion's array, which is
 * freed. The companion is there. */
void rbe_param_set_companion(rbe_param *param, const char *name, float *values);

/* Whether a step of an optimiser changes it, as far as it says itself: not frozen, and of a rate other than 0. */
bool rbe_param_is_trained(const rbe_param *param);

/* Says, once a gradient has been written or will be added to, that there is one: true if there was one before. */
bool rbe_param_mark_gradient(rbe_param *param);

/* Multiplies `count` values of gradients. */
void rbe_gradient_scale(float *values, size_t count, float factor);

/* Floats that a gradient of `count` values takes in the buffer of its model: whole lines of the cache, and none of what
 * is frozen. */
size_t rbe_gradient_floats(const rbe_param *param, size_t count);

/* Where its gradient in the buffer of its model ends; 0 if it has none there. */
uintptr_t rbe_param_gradient_end(const rbe_param *param);

/* Sees to it that all gradients of the model that are not frozen are in its buffer, which rbe_model_gradients gives, but
 * leaves those that are not set as they are. */
rbe_status rbe_model_require_gradients(rbe_model *model, size_t *count);

/* Makes the gradient zeros where it is not set; it is there, or frozen. */
void rbe_param_clear_unset(const rbe_param *param);

/* Moves all gradients into `buffer`, zeroed memory of the library for the present counts, which becomes the model's. */
void rbe_model_arrange_gradients(rbe_model *model, float *buffer);

#endif
