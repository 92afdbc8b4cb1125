/* What the parts of an export share: the model, options, the text, and what has been found out on the way.
 *
 * The text is made twice by the same functions: the first time nothing is written, but routines, tables, memory and
 * operations are counted, so that the second time what comes first in the file can say them.
 */
#ifndef RBE_EXPORT_EXPORTER_H
#define RBE_EXPORT_EXPORTER_H

#include "export/snippets.h"
#include "export/text.h"
#include "nn/linear.h"
#include "nn/model.h"
#include "rbe/export.h"

enum { RBE_NAME_MOST = 23, RBE_MOST_TABLES = 256, RBE_MOST_STEPS = 100000 };

/* Constants that several layers share. */
typedef enum rbe_table_kind { RBE_COSINES, RBE_TURNS, RBE_FILTERS, RBE_RAMP, RBE_SMOOTH } rbe_table_kind;

typedef struct rbe_table {
    rbe_table_kind kind;
    size_t size;                    /* length, overlap or block */
    const rbe_transform *transform; /* of filters */
} rbe_table;

typedef struct rbe_int_plan rbe_int_plan;

typedef struct rbe_exporter {
    rbe_model *model;
    rbe_export_options o;
    char name[RBE_NAME_MOST + 1], upper[RBE_NAME_MOST + 1];
    const char *header;       /* the last part of its path */
    size_t in, out;           /* of a place */
    size_t places;            /* of a sample; 1 where nothing is remembered */
    size_t vocabulary;        /* inputs are ids below it; 0: they are not */
    bool remembers;           /* something of the places before */
    const rbe_layer **layers; /* with parameters: number n is called n + 1 in the file */
    size_t layer_count;
    float *expected;    /* of the samples */
    rbe_int_plan *plan; /* NULL: with floats (integer.h) */
    int32_t *whole;     /* with whole numbers, the same */
    rbe_c_text text;
    /* Counted. */
    bool needs[RBE_SNIPPET_COUNT];
    rbe_table tables[RBE_MOST_TABLES];
    size_t table_count;
    size_t peak;       /* floats of scratch memory between layers */
    size_t remembered; /* of attentions, behind these */
    size_t steps;      /* layers in net_predict, each as often as it has places */
    double operations;
} rbe_exporter;

static inline void rbe_need(rbe_exporter *x, rbe_snippet snippet) { x->needs[snippet] = true; }

/* The number in the file of a layer with parameters. */
size_t rbe_layer_number(const rbe_exporter *x, const rbe_layer *layer);

/* A failure that sticks. */
void rbe_export_fail(rbe_exporter *x, rbe_status status);

/* A layer's path as a comment can hold it, at most 63 bytes. */
const char *rbe_comment(const char *path, char text[64]);

/* ---- options, names, what can be exported (check.c) ---------------------------------------------------------- */

rbe_status rbe_export_check(rbe_exporter *x, const char *path);

/* ---- bits (round.c) ------------------------------------------------------------------------------------------ */

/* With which a parameter is exported; 0: as floats. */
unsigned rbe_export_bits(const rbe_exporter *x, const rbe_layer *layer, const rbe_param *param);

/* Values that export will round, as they were. */
typedef struct rbe_kept_values rbe_kept_values;

/* Rounds the values of the model; *kept is for rbe_export_restore, also after a failure. */
rbe_status rbe_export_round(rbe_exporter *x, rbe_kept_values **kept);
void rbe_export_restore(rbe_kept_values *kept);

/* ---- constants (data.c, tables.c) ---------------------------------------------------------------------------- */

void rbe_c_layer_data(rbe_exporter *x, const rbe_layer *layer, size_t number);

/* What stands for value `index` (an expression in C) of a parameter that is no matrix: "bias_1[i]". */
const char *rbe_c_element(const rbe_exporter *x, const rbe_layer *layer, const rbe_param *param, size_t number,
                          const char *index, char text[160]);

/* Notes a table as needed. */
void rbe_need_table(rbe_exporter *x, rbe_table_kind kind, size_t size, const rbe_transform *transform);
void rbe_c_tables(rbe_exporter *x);

/* Functions of one variable that stand for the smooth ones of a block: RBE_SMOOTH. */
size_t rbe_smooth_count(const rbe_blocks *blocks);

/* ---- code (linear.c, layers.c, selftest.c) ------------------------------------------------------------------- */

/* The function of a compressed layer, and the floats of scratch memory that it takes. */
void rbe_c_linear(rbe_exporter *x, const rbe_layer *layer, size_t number);
size_t rbe_c_linear_work(const rbe_layer *layer);

/* Multiplications and additions of a layer with a matrix, for one row. */
double rbe_linear_operations(const rbe_layer *layer, bool speed);

/* The body of net_predict. */
void rbe_c_steps(rbe_exporter *x);

/* What the model gives for `count` samples; *y is to be freed. */
rbe_status rbe_export_evaluate(const rbe_exporter *x, const float *samples, size_t count, float **y);
void rbe_c_selftest(rbe_exporter *x);

#endif
