/* Two or three ways of writing each digit: knots of smooth curves in a box of height 1. */
#include "data/digit_shapes.h"

#define SMOOTH RBE_SMOOTH
#define CORNER RBE_CORNER
#define PEN_UP RBE_PEN_UP

static const rbe_knot zero_closed[] = {
    {0.54, 0.01, SMOOTH}, {0.32, 0.11, SMOOTH}, {0.20, 0.48, SMOOTH}, {0.30, 0.86, SMOOTH}, {0.52, 0.99, SMOOTH},
    {0.72, 0.86, SMOOTH}, {0.80, 0.48, SMOOTH}, {0.71, 0.13, SMOOTH}, {0.50, 0.01, PEN_UP},
};
static const rbe_knot zero_overlapping[] = {
    {0.66, 0.10, SMOOTH}, {0.46, 0.04, SMOOTH}, {0.25, 0.25, SMOOTH}, {0.21, 0.66, SMOOTH}, {0.40, 0.97, SMOOTH},
    {0.66, 0.90, SMOOTH}, {0.79, 0.52, SMOOTH}, {0.70, 0.14, SMOOTH}, {0.52, 0.00, SMOOTH}, {0.38, 0.10, PEN_UP},
};
static const rbe_knot zero_slashed[] = {
    {0.54, 0.01, SMOOTH}, {0.32, 0.11, SMOOTH}, {0.20, 0.48, SMOOTH}, {0.30, 0.86, SMOOTH},
    {0.52, 0.99, SMOOTH}, {0.72, 0.86, SMOOTH}, {0.80, 0.48, SMOOTH}, {0.71, 0.13, SMOOTH},
    {0.50, 0.01, PEN_UP}, {0.72, 0.14, SMOOTH}, {0.30, 0.86, PEN_UP},
};

static const rbe_knot one_plain[] = {{0.53, 0.00, SMOOTH}, {0.50, 0.50, SMOOTH}, {0.48, 1.00, PEN_UP}};
static const rbe_knot one_flag[] = {
    {0.32, 0.24, SMOOTH}, {0.44, 0.14, SMOOTH}, {0.55, 0.00, CORNER}, {0.54, 0.50, SMOOTH}, {0.52, 1.00, PEN_UP}};
static const rbe_knot one_foot[] = {
    {0.34, 0.20, SMOOTH}, {0.53, 0.00, CORNER}, {0.52, 0.50, SMOOTH},
    {0.51, 0.98, PEN_UP}, {0.28, 0.98, SMOOTH}, {0.75, 0.97, PEN_UP},
};

static const rbe_knot two_straight[] = {
    {0.22, 0.24, SMOOTH}, {0.37, 0.04, SMOOTH}, {0.63, 0.03, SMOOTH}, {0.75, 0.22, SMOOTH},
    {0.64, 0.50, SMOOTH}, {0.42, 0.75, SMOOTH}, {0.20, 0.96, CORNER}, {0.82, 0.95, PEN_UP},
};
static const rbe_knot two_loop[] = {
    {0.22, 0.20, SMOOTH}, {0.40, 0.02, SMOOTH}, {0.66, 0.06, SMOOTH}, {0.72, 0.28, SMOOTH},
    {0.58, 0.58, SMOOTH}, {0.36, 0.86, SMOOTH}, {0.20, 0.94, SMOOTH}, {0.17, 0.82, SMOOTH},
    {0.30, 0.78, SMOOTH}, {0.52, 0.92, SMOOTH}, {0.70, 0.97, SMOOTH}, {0.86, 0.88, PEN_UP},
};
static const rbe_knot two_angular[] = {
    {0.24, 0.08, SMOOTH}, {0.50, 0.03, SMOOTH}, {0.76, 0.10, SMOOTH},
    {0.64, 0.42, SMOOTH}, {0.22, 0.94, CORNER}, {0.80, 0.97, PEN_UP},
};

static const rbe_knot three_round[] = {
    {0.24, 0.13, SMOOTH}, {0.45, 0.01, SMOOTH}, {0.69, 0.11, SMOOTH}, {0.66, 0.34, SMOOTH}, {0.42, 0.46, CORNER},
    {0.68, 0.54, SMOOTH}, {0.77, 0.75, SMOOTH}, {0.56, 0.97, SMOOTH}, {0.22, 0.89, PEN_UP},
};
static const rbe_knot three_flat[] = {
    {0.24, 0.04, SMOOTH}, {0.74, 0.03, CORNER}, {0.46, 0.39, CORNER}, {0.69, 0.47, SMOOTH},
    {0.78, 0.71, SMOOTH}, {0.58, 0.96, SMOOTH}, {0.22, 0.90, PEN_UP},
};
static const rbe_knot three_curl[] = {
    {0.28, 0.10, SMOOTH}, {0.52, 0.01, SMOOTH}, {0.68, 0.16, SMOOTH}, {0.56, 0.38, SMOOTH},
    {0.38, 0.48, SMOOTH}, {0.36, 0.42, SMOOTH}, {0.58, 0.44, SMOOTH}, {0.75, 0.64, SMOOTH},
    {0.66, 0.90, SMOOTH}, {0.44, 0.99, SMOOTH}, {0.24, 0.84, PEN_UP},
};

static const rbe_knot four_open[] = {
    {0.28, 0.04, SMOOTH}, {0.20, 0.54, CORNER}, {0.82, 0.50, PEN_UP},
    {0.68, 0.06, SMOOTH}, {0.66, 0.50, SMOOTH}, {0.62, 1.00, PEN_UP},
};
static const rbe_knot four_closed[] = {
    {0.62, 0.01, SMOOTH}, {0.40, 0.34, SMOOTH}, {0.15, 0.66, CORNER}, {0.86, 0.64, PEN_UP},
    {0.62, 0.01, SMOOTH}, {0.62, 0.50, SMOOTH}, {0.60, 1.00, PEN_UP},
};
static const rbe_knot four_round[] = {
    {0.26, 0.06, SMOOTH}, {0.20, 0.36, SMOOTH}, {0.32, 0.52, SMOOTH}, {0.54, 0.49, SMOOTH}, {0.72, 0.30, SMOOTH},
    {0.75, 0.04, CORNER}, {0.72, 0.40, SMOOTH}, {0.68, 0.72, SMOOTH}, {0.65, 1.00, PEN_UP},
};

static const rbe_knot five_two_strokes[] = {
    {0.33, 0.05, SMOOTH}, {0.28, 0.44, CORNER}, {0.52, 0.37, SMOOTH}, {0.74, 0.52, SMOOTH}, {0.73, 0.80, SMOOTH},
    {0.52, 0.98, SMOOTH}, {0.22, 0.90, PEN_UP}, {0.33, 0.05, SMOOTH}, {0.80, 0.03, PEN_UP},
};
static const rbe_knot five_one_stroke[] = {
    {0.78, 0.03, SMOOTH}, {0.36, 0.06, CORNER}, {0.29, 0.42, CORNER}, {0.56, 0.39, SMOOTH},
    {0.75, 0.58, SMOOTH}, {0.68, 0.86, SMOOTH}, {0.46, 0.98, SMOOTH}, {0.20, 0.88, PEN_UP},
};
static const rbe_knot five_flowing[] = {
    {0.80, 0.04, SMOOTH}, {0.54, 0.03, SMOOTH}, {0.33, 0.12, SMOOTH}, {0.34, 0.34, SMOOTH}, {0.58, 0.46, SMOOTH},
    {0.72, 0.66, SMOOTH}, {0.62, 0.90, SMOOTH}, {0.40, 0.98, SMOOTH}, {0.18, 0.88, PEN_UP},
};

static const rbe_knot six_curved[] = {
    {0.68, 0.02, SMOOTH}, {0.42, 0.20, SMOOTH}, {0.24, 0.56, SMOOTH}, {0.28, 0.88, SMOOTH}, {0.50, 0.99, SMOOTH},
    {0.73, 0.86, SMOOTH}, {0.73, 0.64, SMOOTH}, {0.54, 0.53, SMOOTH}, {0.34, 0.64, SMOOTH}, {0.27, 0.80, PEN_UP},
};
static const rbe_knot six_straight[] = {
    {0.46, 0.00, SMOOTH}, {0.30, 0.38, SMOOTH}, {0.24, 0.72, SMOOTH}, {0.40, 0.97, SMOOTH},
    {0.66, 0.92, SMOOTH}, {0.72, 0.70, SMOOTH}, {0.54, 0.58, SMOOTH}, {0.30, 0.72, PEN_UP},
};

static const rbe_knot seven_plain[] = {
    {0.20, 0.06, SMOOTH}, {0.50, 0.06, SMOOTH}, {0.80, 0.04, CORNER}, {0.56, 0.50, SMOOTH}, {0.42, 1.00, PEN_UP}};
static const rbe_knot seven_barred[] = {
    {0.20, 0.06, SMOOTH}, {0.80, 0.04, CORNER}, {0.58, 0.46, SMOOTH},
    {0.44, 1.00, PEN_UP}, {0.32, 0.52, SMOOTH}, {0.76, 0.49, PEN_UP},
};
static const rbe_knot seven_serif[] = {
    {0.19, 0.22, SMOOTH}, {0.22, 0.05, CORNER}, {0.50, 0.09, SMOOTH},
    {0.80, 0.04, CORNER}, {0.62, 0.40, SMOOTH}, {0.50, 1.00, PEN_UP},
};

static const rbe_knot eight_one_stroke[] = {
    {0.71, 0.14, SMOOTH}, {0.52, 0.00, SMOOTH}, {0.31, 0.13, SMOOTH}, {0.36, 0.36, SMOOTH}, {0.54, 0.50, SMOOTH},
    {0.71, 0.66, SMOOTH}, {0.72, 0.88, SMOOTH}, {0.48, 1.00, SMOOTH}, {0.26, 0.86, SMOOTH}, {0.32, 0.64, SMOOTH},
    {0.52, 0.46, SMOOTH}, {0.70, 0.30, SMOOTH}, {0.70, 0.10, PEN_UP},
};
static const rbe_knot eight_two_rings[] = {
    {0.52, 0.00, SMOOTH}, {0.32, 0.10, SMOOTH}, {0.33, 0.36, SMOOTH}, {0.52, 0.46, SMOOTH}, {0.70, 0.34, SMOOTH},
    {0.69, 0.11, SMOOTH}, {0.49, 0.00, PEN_UP}, {0.50, 0.46, SMOOTH}, {0.28, 0.60, SMOOTH}, {0.28, 0.88, SMOOTH},
    {0.51, 1.00, SMOOTH}, {0.74, 0.88, SMOOTH}, {0.73, 0.60, SMOOTH}, {0.52, 0.46, PEN_UP},
};

static const rbe_knot nine_straight[] = {
    {0.74, 0.16, SMOOTH}, {0.54, 0.01, SMOOTH}, {0.30, 0.13, SMOOTH}, {0.28, 0.38, SMOOTH}, {0.48, 0.48, SMOOTH},
    {0.68, 0.36, SMOOTH}, {0.75, 0.10, CORNER}, {0.74, 0.50, SMOOTH}, {0.68, 1.00, PEN_UP},
};
static const rbe_knot nine_curved[] = {
    {0.72, 0.14, SMOOTH}, {0.50, 0.00, SMOOTH}, {0.28, 0.16, SMOOTH}, {0.32, 0.43, SMOOTH}, {0.56, 0.46, SMOOTH},
    {0.72, 0.26, SMOOTH}, {0.74, 0.10, CORNER}, {0.74, 0.56, SMOOTH}, {0.61, 0.90, SMOOTH}, {0.28, 0.97, PEN_UP},
};

#define SHAPE(digit, weight, knots)                                                                                    \
    { digit, weight, knots, sizeof(knots) / sizeof((knots)[0]) }

const rbe_digit_shape rbe_digit_shapes[] = {
    SHAPE(0, 0.55, zero_closed),      SHAPE(0, 0.35, zero_overlapping), SHAPE(0, 0.10, zero_slashed),
    SHAPE(1, 0.55, one_plain),        SHAPE(1, 0.30, one_flag),         SHAPE(1, 0.15, one_foot),
    SHAPE(2, 0.45, two_straight),     SHAPE(2, 0.35, two_loop),         SHAPE(2, 0.20, two_angular),
    SHAPE(3, 0.50, three_round),      SHAPE(3, 0.20, three_flat),       SHAPE(3, 0.30, three_curl),
    SHAPE(4, 0.40, four_open),        SHAPE(4, 0.30, four_closed),      SHAPE(4, 0.30, four_round),
    SHAPE(5, 0.45, five_two_strokes), SHAPE(5, 0.35, five_one_stroke),  SHAPE(5, 0.20, five_flowing),
    SHAPE(6, 0.60, six_curved),       SHAPE(6, 0.40, six_straight),     SHAPE(7, 0.45, seven_plain),
    SHAPE(7, 0.35, seven_barred),     SHAPE(7, 0.20, seven_serif),      SHAPE(8, 0.65, eight_one_stroke),
    SHAPE(8, 0.35, eight_two_rings),  SHAPE(9, 0.55, nine_straight),    SHAPE(9, 0.45, nine_curved),
};
const size_t rbe_digit_shape_count = sizeof(rbe_digit_shapes) / sizeof(rbe_digit_shapes[0]);
