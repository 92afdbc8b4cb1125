/* Models of few bits, for the tests of packed layers. */
#ifndef RBE_TESTS_PACKED_SUPPORT_H
#define RBE_TESTS_PACKED_SUPPORT_H

#include "io_support.h"
#include "nn/bits.h"

/* Gives all layers bits and random values: whole numbers of steps, as training leaves them; every seventh is 0. */
void give_bits(rbe_model *model, unsigned bits, uint64_t seed);

/* Rounds the values of a parameter as a file does. */
void round_to_bits(const rbe_layer *layer, rbe_param *param);

/* A compressed layer like another, which is freed, but with other positions, without a seed: each list has each column with
 * the odds `density`, so that lengths differ. */
rbe_layer *scattered_layer(rbe_layer *layer, double density, uint64_t seed);

/* Compressed (image of 28 x 28 -> 300, grown for some steps), relu, dense (300 -> 10), of these many values per value of a
 * dense layer. */
rbe_model *grown_digits(double ratio, size_t group, size_t steps);

/* What is saved with the default options, loads as the same model, of which the file is the same again, and has the size
 * that was promised. Returns the file. */
bytes check_packed_round_trip(const rbe_model *model, rbe_store_positions positions);

TCase *packed_damage_case(void);

#endif
