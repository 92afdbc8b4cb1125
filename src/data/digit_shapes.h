/* The digits as a pen draws them, before any jitter. */
#ifndef RBE_DATA_DIGIT_SHAPES_H
#define RBE_DATA_DIGIT_SHAPES_H

#include <stddef.h>

typedef enum rbe_knot_kind { RBE_SMOOTH, RBE_CORNER, RBE_PEN_UP } rbe_knot_kind;

/* A point of the pen's way; x to the right, y downwards, the digit stands between y = 0 and 1 about x = 1/2. The
 * way turns sharply at a corner and ends at a PEN_UP, which the last knot of a shape is, too. */
typedef struct rbe_knot {
    double x, y;
    rbe_knot_kind kind;
} rbe_knot;

/* One way of writing a digit. */
typedef struct rbe_digit_shape {
    int digit;
    double weight; /* how often it is used, among the shapes of its digit */
    const rbe_knot *knots;
    size_t count;
} rbe_digit_shape;

enum { RBE_MOST_KNOTS = 24 };

extern const rbe_digit_shape rbe_digit_shapes[];
extern const size_t rbe_digit_shape_count;

#endif
