/* The parameters of a training with all that belongs to them - positions, companions, rates - as named tensors and JSON,
 * and back. docs/format.md, section 12, says which.
 */
#ifndef RBE_TRAIN_PARAM_CODE_H
#define RBE_TRAIN_PARAM_CODE_H

#include "io/blocks_code.h"
#include "nn/linear.h"
#include "rbe/optim.h"

/* Whose parameters: the layers of a model, and the parameters that an optimiser has beside them. */
typedef struct rbe_param_list {
    rbe_layer **layers; /* in the order of rbe_layer_walk */
    size_t layer_count;
    rbe_param **beside;
    size_t beside_count;
    const rbe_optim *optim; /* NULL: none */
} rbe_param_list;

/* optim NULL: none. To be freed in any case. INSUFFICIENT_MEMORY. */
rbe_status rbe_param_list_make(rbe_param_list *list, const rbe_model *model, const rbe_optim *optim);
void rbe_param_list_free(rbe_param_list *list);

/* ---- out of memory ------------------------------------------------------------------------------------------- */

/* Tensors that they become, at most. */
size_t rbe_param_list_parts(const rbe_param_list *list);

/* Appends the tensors, and an object for each layer, and for each parameter beside them, to these JSON lists.
 * INVALID_ARGUMENT for a gradient that waits for an optimiser. */
rbe_status rbe_pack_param_list(rbe_pack *pack, const rbe_param_list *list, cJSON *layers, cJSON *beside);

/* ---- into memory --------------------------------------------------------------------------------------------- */

/* What has been read for one parameter. */
typedef struct rbe_param_news {
    rbe_param *param;
    size_t count;
    bool frozen;
    double lr_scale, rate;
    float *value; /* NULL: those of the layer's matrix */
    float *grad;  /* in the place of one of another count; NULL: it stays, or there is none */
    struct rbe_companion_news *companions;
    size_t companion_count;
} rbe_param_news;

typedef struct rbe_matrix_news {
    rbe_linear_layer *layer;
    rbe_blocks *blocks;
} rbe_matrix_news;

/* What has been read for all of them and not been put into its place yet. */
typedef struct rbe_news {
    rbe_param_news *params;
    size_t param_count;
    rbe_matrix_news *matrices;
    size_t matrix_count;
} rbe_news;

/* Reads and checks everything that rbe_pack_param_list has written, and takes all memory. Nothing is changed, but for
 * new companions of zeros, which a discard removes again. To be discarded in any case.
 * INVALID_ARGUMENT, naming what differs; BAD_FORMAT; IO_ERROR; INSUFFICIENT_MEMORY. */
rbe_status rbe_unpack_param_list(rbe_news *news, const rbe_param_list *list, const rbe_tensor_file *file,
                                 const cJSON *layers, const cJSON *beside, bool *used);

/* Puts it into its place: cannot fail. */
void rbe_news_commit(rbe_news *news);
void rbe_news_discard(rbe_news *news); /* all zeros, and after a commit, is allowed */

#endif
