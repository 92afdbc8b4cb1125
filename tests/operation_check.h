/* One operation against the same formula in double precision, with all that holds for every operation. */
#ifndef RBE_TESTS_OPERATION_CHECK_H
#define RBE_TESTS_OPERATION_CHECK_H

#include "support.h"

enum { MAX_OPERANDS = 3, MAX_VALUES = 1024 };

/* One of unary, binary, call and matmul's transposes says what to call; one of value, combine and reference is its
 * formula: of one value, of two values that are broadcast, or of whole tensors (it returns the shape of y). */
typedef struct operation {
    const char *name;
    rbe_var *(*unary)(rbe_var *x);
    rbe_var *(*binary)(rbe_var *a, rbe_var *b);
    rbe_var *(*call)(const struct operation *op, rbe_var *const *x);
    int operands; /* of call */
    bool transposed[MAX_OPERANDS];
    double (*value)(double x);
    double (*combine)(double a, double b);
    rbe_tensor (*reference)(const struct operation *op, const rbe_tensor *shapes, double *const *x, double *y);
    size_t least_columns; /* fewer are refused */
    int positive;         /* bit k: operand k has values above 0.5 only */
    bool linear;          /* in all operands together */
    bool kinks;           /* nearer to random data than the step of float differences: those are left out */
    /* What the operation is given beside its operands. */
    int dim, order[RBE_MAX_DIMS];
    size_t first, count;
} operation;

int operand_count(const operation *op);
rbe_var *apply(const operation *op, rbe_var *const *x);

/* Index of the operand's value that meets value i of the result. */
size_t operand_index(const rbe_tensor *operand, const rbe_tensor *result, size_t i);

/* Values and gradients of an operation on random data of these shapes: values to 1e-5; gradients of sum_i w_i y_i to
 * 1e-4 of central differences of the double formula (whose own error is about 1e-9), with any of the operands as
 * variables, and used twice; and to 1e-3 of finite differences of the float operation itself. Linear ones have the
 * adjoint: <w, f(x)> = <f^T w, x>. In inference the values are the same bits. */
void check_operation(const operation *op, const rbe_tensor *shapes);

/* Values and gradients of an operation on random data are the same bits for 1, 2, 3 and 7 threads. */
void check_threads(const operation *op, const rbe_tensor *shapes);

/* What becomes of no operand, of operands of two tapes, and of a tape that has failed. */
void check_failed_operands(const operation *op, const rbe_tensor *shapes);

#endif
