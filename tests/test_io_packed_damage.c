#include "packed_support.h"
TCase *packed_damage_case(void) { return tcase_create("damage"); }
