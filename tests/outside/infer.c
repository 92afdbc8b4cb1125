/* A program with the small library: loads a model, if one is named. */
#include "rbe/infer.h"

#include <stdio.h>

int main(int argc, char **argv) {
    rbe_model *model = argc > 1 ? rbe_model_load(argv[1]) : NULL;
    if (argc > 1 && !model) {
        fprintf(stderr, "%s: %s\n", rbe_status_name(rbe_last_status()), rbe_last_error());
        return 1;
    }
    printf("librbe_infer %s\n", rbe_version());
    rbe_model_free(model);
    return 0;
}
