/* Filters of wavelets from the tables. */
#include "infer/tables.h"

void rbe_transform_filters(const rbe_transform *transform, rbe_filters *analysis, rbe_filters *synthesis) {
    const rbe_filter_table *table = rbe_filter_tables;
    while (table->member != transform->member) table++;
    *analysis = table->analysis;
    *synthesis = table->synthesis;
}
