/* The orthonormal basis from the tables. */
#include <string.h>

#include "infer/tables.h"

rbe_basis *rbe_basis_new(size_t block) {
    rbe_basis *m = rbe_basis_bare(block);
    if (!m) return NULL;
    const rbe_basis_table *table = rbe_basis_tables;
    while (table->block != block) table++;
    const size_t half = block / 2;
    m->rank = table->rank;
    memcpy(m->even[0], table->even, RBE_EVEN_COUNT * half * sizeof(double));
    memcpy(m->vector[0], table->vector, m->rank * half * sizeof(double));
    memcpy(m->lambda, table->lambda, sizeof m->lambda);
    memcpy(m->to_orthonormal, table->to_orthonormal, sizeof m->to_orthonormal);
    return m;
}
