#include "suites.h"
Suite *own_operations_suite(void) { return suite_create("own_operations"); }
