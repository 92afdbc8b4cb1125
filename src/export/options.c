/* Layers tell their options to whoever writes them; here to somebody who waits for one. */
#include "export/options.h"

#include <string.h>

typedef struct search {
    rbe_writer base;
    const char *name;
    double found;
} search;

static rbe_status see_number(rbe_writer *self, const char *name, double value) {
    search *s = (search *)self;
    if (strcmp(name, s->name) == 0) s->found = value;
    return RBE_OK;
}

static rbe_status see_text(rbe_writer *self, const char *name, const char *value) {
    (void)self, (void)name, (void)value;
    return RBE_OK;
}

double rbe_layer_option(const rbe_layer *layer, const char *name) {
    search s = {{see_number, see_text}, name, 0.0};
    if (layer->type->write) layer->type->write(layer, &s.base);
    return s.found;
}
