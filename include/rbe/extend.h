/* rbe/extend.h - layers of your own.
 *
 * A layer is a struct that begins with an rbe_layer, and a constant table of methods. For example, a trained scale and
 * shift for each feature:
 *
 *     typedef struct affine {
 *         rbe_layer base;
 *         rbe_param params[2];
 *     } affine;
 *
 *     static rbe_var *affine_forward(const rbe_layer *layer, rbe_var *x) {
 *         rbe_var *scale = rbe_parameter(x->tape, &layer->params[0], 1, &layer->in);
 *         return rbe_add(rbe_mul(x, scale), rbe_parameter(x->tape, &layer->params[1], 1, &layer->in));
 *     }
 *
 *     static const rbe_layer_type affine_type = {
 *         .kind = "affine", .forward = affine_forward, .destroy = affine_destroy, .read = affine_read};
 *
 * Nothing else is needed: optimisers, files, costs and names find everything in its rbe_layer. To load a file with such
 * a layer, first register the type (rbe_layer_register). `write` writes the options and `read` reads them; the library
 * stores and loads the parameters.
 *
 * A layer may hold others, its children: they are trained, counted, stored and freed with it. examples/extend.c has it
 * all.
 */
#ifndef RBE_EXTEND_H
#define RBE_EXTEND_H

#include "rbe/comm.h"
#include "rbe/nn.h"
#include "rbe/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options in files ---------------------------------------------------------------------------------------- */

/* Where the options of a layer go when its model is saved. */
typedef struct rbe_writer rbe_writer;

/* Writes a named number or text (UTF-8). The name begins with a letter and is not "kind", "name" or "children". */
RBE_API rbe_status rbe_write_number(rbe_writer *writer, const char *name, double value);
RBE_API rbe_status rbe_write_text(rbe_writer *writer, const char *name, const char *value);

/* Where the options come from when a file is read. Files are not trusted: everything is checked, and what is missing or
 * out of range is BAD_FORMAT with a text that names it. */
typedef struct rbe_reader rbe_reader;

/* The number of that name, which must be within least .. most; a count is a whole number. */
RBE_API rbe_status rbe_read_number(rbe_reader *reader, const char *name, double least, double most, double *value);
RBE_API rbe_status rbe_read_count(rbe_reader *reader, const char *name, size_t least, size_t most, size_t *value);

/* The text of that name, which lives as long as the reader; NULL if there is none. */
RBE_API const char *rbe_read_text(rbe_reader *reader, const char *name);

/* How many values the file has for the parameter of this part; 0: none. Ask before you allocate memory for them, since
 * a file may promise anything. */
RBE_API size_t rbe_read_values(const rbe_reader *reader, const char *part);

/* BAD_FORMAT unless the file has rows x columns values for that part and may take as much memory (rbe/io.h,
 * "Reading"). */
RBE_API rbe_status rbe_read_matrix(rbe_reader *reader, const char *part, size_t rows, size_t columns);

/* Records and returns BAD_FORMAT with a text of your own, cut at 199 bytes. */
RBE_API rbe_status rbe_read_fail(const rbe_reader *reader, const char *format, ...) RBE_PRINTF(2, 3);

/* For what must not have changed since the file was written, such as an option that decides results: INVALID_ARGUMENT,
 * with both values, if it differs. */
RBE_API rbe_status rbe_read_same_number(rbe_reader *reader, const char *name, double now);
RBE_API rbe_status rbe_read_same_text(rbe_reader *reader, const char *name, const char *now);

/* ---- routines of a training ---------------------------------------------------------------------------------- */

/* Something that runs after each step of the optimiser and has a state: growth (rbe_growth_routine), gradual pruning,
 * an average or a curriculum of your own. rbe_fit runs it, and its state is part of every checkpoint
 * (rbe/checkpoint.h). */
typedef struct rbe_routine {
    /* In checkpoints. No two routines of a training have the same name; "library", "optimiser" and "fit" are taken. */
    const char *name;

    /* After step number `step` (0, 1, ..) of the optimiser; NULL: nothing. */
    rbe_status (*step)(void *user, size_t step);

    /* `write` writes the state, and the options that it depends on; `read` reads them again, in any order, and checks
     * everything before it changes anything. Both NULL: there is no state. Any double comes back with the same bits;
     * read with limits of -INFINITY and INFINITY, NaN too. */
    rbe_status (*write)(void *user, rbe_writer *writer);
    rbe_status (*read)(void *user, rbe_reader *reader);
    void *user;

    /* With several ranks (rbe_fit_options.comm): called after the backward passes of a step, once its gradients have
     * been summed; NULL: nothing. It makes what a routine has seen of its rank's share of the batch the same on all
     * ranks, by calls of `comm`, and fails on all of them or on none. It is the only place for such calls. Whatever
     * else a routine does, it does on all ranks alike; there it may fail on a single rank. */
    rbe_status (*meet)(void *user, const rbe_comm *comm);
} rbe_routine;

/* ---- the table of methods ------------------------------------------------------------------------------------ */

/* How a layer counts when a model is listed. */
typedef enum rbe_layer_role {
    RBE_LAYER,     /* counted by rbe_model_layer */
    RBE_OPERATION, /* a function without parameters, neither counted nor named: to store an operation of your own */
    RBE_CONTAINER  /* holds others, which are counted in its place */
} rbe_layer_role;

/* All methods but forward may be NULL. */
typedef struct rbe_layer_type rbe_layer_type;
struct rbe_layer_type {
    const char *kind; /* "dense": what files call it */
    rbe_layer_role role;

    /* y = layer(x). x has a value (rbe_ok), whose width has been checked against layer->in. */
    rbe_var *(*forward)(const rbe_layer *layer, rbe_var *x);

    /* Frees what else the layer owns, such as its parameters' values. The library frees the struct, the parameters'
     * gradients and companions, and the children. */
    void (*destroy)(rbe_layer *layer);

    /* Writes the options. The library writes parameters and children. */
    rbe_status (*write)(const rbe_layer *layer, rbe_writer *writer);

    /* Makes a layer with these options, and no children; the library then fills its parameters and adds its children.
     * NULL on failure. A layer whose type has no `read` cannot be stored. */
    rbe_layer *(*read)(const rbe_layer_type *type, rbe_reader *reader);

    /* Containers only: refuses a child, by a status, or takes note of it, such as of its widths. The library appends it
     * afterwards. NULL: any child is appended. */
    rbe_status (*adopt)(rbe_layer *layer, const rbe_layer *child);

    /* Corrects *cost, which the library has filled in: values and bytes of the layer's own parameters, dense_bytes
     * equal to bytes. */
    void (*cost)(const rbe_layer *layer, rbe_layer_cost *cost);

    /* Bytes that a training step keeps on the tape for `rows` rows of `columns` values. NULL: those of one variable
     * with its gradient, of layer->out values a row (0: as many as the input has). */
    size_t (*tape_bytes)(const rbe_layer *layer, size_t rows, size_t columns);

    /* Bytes that one forward or backward takes on top and gives back; bytes of constants that the layer holds in memory
     * and no file does. NULL: 0. */
    size_t (*scratch_bytes)(const rbe_layer *layer, size_t rows);
    size_t (*table_bytes)(const rbe_layer *layer);

    /* A compressed matrix that files store in the place of the parameters whose values are the matrix's own arrays. */
    const rbe_blocks *(*blocks)(const rbe_layer *layer);
};

/* ---- layers -------------------------------------------------------------------------------------------------- */

/* The beginning of every layer's struct. A constructor fills in the members above the line; those below it are the
 * library's. */
struct rbe_layer {
    const rbe_layer_type *type;
    size_t in, out;    /* widths; 0: any */
    rbe_param *params; /* an array inside the layer's own struct, so that those of a const layer have gradients. For
                          each, set part, value, count, lr_scale (1: the optimiser's rate), decays and rows. */
    size_t param_count;
    /* ------------------------------------------------------------------------------------------------------------ */
    char name[RBE_NAME_SIZE]; /* within its parent: "query" */
    char path[RBE_PATH_SIZE]; /* from the model on: "blocks.3.attention.query" */
    bool named;               /* by rbe_layer_set_name; otherwise by its place */
    rbe_layer **children;
    size_t child_count, child_capacity;
    rbe_layer *parent;      /* the one that holds its first place in the tree; NULL: none */
    size_t places;          /* in how many places it is used */
    const rbe_model *owner; /* the model that it is part of; NULL: none */
};

/* Memory for a struct of `bytes`, zeroed, with this type, in and out; the constructor adds the parameters.
 * rbe_layer_free frees it. NULL on failure: INSUFFICIENT_MEMORY; INVALID_ARGUMENT for a type without kind or forward,
 * or fewer bytes than an rbe_layer has. */
RBE_API rbe_layer *rbe_layer_make(const rbe_layer_type *type, size_t bytes, size_t in, size_t out);

/* Zeroed memory for the `count` values of a parameter, to be freed by rbe_layer_release (in `destroy`); NULL when
 * memory is short. */
RBE_API float *rbe_layer_values(size_t count);
RBE_API void rbe_layer_release(float *values); /* NULL is allowed */

/* Makes a type known to rbe_model_load. The table must outlive all loading. INVALID_ARGUMENT for a type without kind,
 * forward or read, for a kind that another table has, and for the 65th type. Several threads may call it, and again for
 * the same table. */
RBE_API rbe_status rbe_layer_register(const rbe_layer_type *type);

#ifdef __cplusplus
}
#endif
#endif
