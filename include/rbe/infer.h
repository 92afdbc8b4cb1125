/* rbe/infer.h - loading a model, predicting and generating; and librbe_infer, the small library for just that.
 *
 *     rbe_model *model = rbe_model_load_memory(bytes, count);
 *     RBE_TRY(rbe_predict(model, x, rows, y));
 *
 * librbe_infer (-lrbe_infer, pkg-config rbe_infer) is built from librbe's sources without OpenBLAS, GSL, cJSON, zlib
 * and whatever only training needs. It uses libc, libm and threads. Its functions are librbe's own, with the names and
 * meanings of the other headers, so a program can link with either library, but not with both. RBE_INFER_FUNCTIONS
 * lists them. The small library has no function of rbe/adapt.h, rbe/checkpoint.h, rbe/codec.h, rbe/comm.h,
 * rbe/export.h, rbe/extend.h, rbe/op.h and rbe/optim.h; of the others it lacks
 *
 *     whatever makes, compresses, changes, saves or trains layers and models; operations and gradients
 *     tensor files and arrays, data sets, fitting, evaluation
 *     normal random numbers, what OpenBLAS has chosen
 *
 * Results. On the same instruction set a model gives the same bits in both libraries, except for dense products (dense
 * layers, the images of compressed ones, unembeddings, attention to several places at once). These are summed in
 * another order, and agree to 1e-5 of the largest output. The same damage to a file gives the same status. JSON takes
 * its memory from the library's allocator.
 */
#ifndef RBE_INFER_H
#define RBE_INFER_H

#include "rbe/base.h"
#include "rbe/data.h"
#include "rbe/gpt.h"
#include "rbe/io.h"
#include "rbe/nn.h"
#include "rbe/train.h"

/* Every function of librbe_infer. */
#define RBE_INFER_FUNCTIONS(X)                                                                                         \
    /* rbe/base.h */                                                                                                   \
    X(rbe_version)                                                                                                     \
    X(rbe_status_name)                                                                                                 \
    X(rbe_status_message)                                                                                              \
    X(rbe_last_status)                                                                                                 \
    X(rbe_last_error)                                                                                                  \
    X(rbe_fail)                                                                                                        \
    X(rbe_set_allocator)                                                                                               \
    X(rbe_memory)                                                                                                      \
    X(rbe_memory_reset_peak)                                                                                           \
    X(rbe_rng_new)                                                                                                     \
    X(rbe_rng_free)                                                                                                    \
    X(rbe_rng_uniform)                                                                                                 \
    X(rbe_rng_below)                                                                                                   \
    X(rbe_set_threads)                                                                                                 \
    X(rbe_threads)                                                                                                     \
    X(rbe_set_warning_handler)                                                                                         \
    X(rbe_set_max_read_bytes)                                                                                          \
    /* rbe/tensor.h */                                                                                                 \
    X(rbe_tensor_1d)                                                                                                   \
    X(rbe_tensor_2d)                                                                                                   \
    X(rbe_tensor_3d)                                                                                                   \
    X(rbe_tensor_count)                                                                                                \
    X(rbe_tensor_columns)                                                                                              \
    X(rbe_tensor_rows)                                                                                                 \
    X(rbe_tensor_new)                                                                                                  \
    X(rbe_tensor_free)                                                                                                 \
    X(rbe_tape_new)                                                                                                    \
    X(rbe_tape_free)                                                                                                   \
    X(rbe_tape_reset)                                                                                                  \
    X(rbe_tape_reserve)                                                                                                \
    X(rbe_tape_status)                                                                                                 \
    X(rbe_tape_error)                                                                                                  \
    X(rbe_tape_check_finite)                                                                                           \
    X(rbe_input)                                                                                                       \
    X(rbe_value)                                                                                                       \
    X(rbe_item)                                                                                                        \
    /* rbe/nn.h */                                                                                                     \
    X(rbe_layer_forward)                                                                                               \
    X(rbe_layer_name)                                                                                                  \
    X(rbe_layer_path)                                                                                                  \
    X(rbe_layer_kind)                                                                                                  \
    X(rbe_layer_inputs)                                                                                                \
    X(rbe_layer_outputs)                                                                                               \
    X(rbe_layer_param)                                                                                                 \
    X(rbe_layer_child)                                                                                                 \
    X(rbe_layer_describe_cost)                                                                                         \
    X(rbe_model_free)                                                                                                  \
    X(rbe_model_status)                                                                                                \
    X(rbe_model_forward)                                                                                               \
    X(rbe_model_layer)                                                                                                 \
    X(rbe_model_param)                                                                                                 \
    X(rbe_model_inputs)                                                                                                \
    X(rbe_model_outputs)                                                                                               \
    X(rbe_model_find)                                                                                                  \
    X(rbe_model_find_param)                                                                                            \
    X(rbe_model_print)                                                                                                 \
    X(rbe_model_describe_cost)                                                                                         \
    X(rbe_model_tape_bytes)                                                                                            \
    /* rbe/io.h */                                                                                                     \
    X(rbe_model_load)                                                                                                  \
    X(rbe_model_load_memory)                                                                                           \
    X(rbe_model_load_stream)                                                                                           \
    X(rbe_model_metadata)                                                                                              \
    X(rbe_model_metadata_at)                                                                                           \
    /* rbe/data.h */                                                                                                   \
    X(rbe_vocabulary_of_text)                                                                                          \
    X(rbe_vocabulary_of_bytes)                                                                                         \
    X(rbe_vocabulary_free)                                                                                             \
    X(rbe_vocabulary_size)                                                                                             \
    X(rbe_vocabulary_text)                                                                                             \
    X(rbe_vocabulary_encode)                                                                                           \
    X(rbe_vocabulary_decode)                                                                                           \
    /* rbe/gpt.h */                                                                                                    \
    X(rbe_generator_bytes)                                                                                             \
    X(rbe_generator_new)                                                                                               \
    X(rbe_generator_free)                                                                                              \
    X(rbe_generator_feed)                                                                                              \
    X(rbe_generator_places)                                                                                            \
    X(rbe_generator_reset)                                                                                             \
    X(rbe_sample)                                                                                                      \
    /* rbe/train.h */                                                                                                  \
    X(rbe_predict)

#endif
