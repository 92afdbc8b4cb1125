#include "infer_library.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static void *find(void *library, const char *name, void *of_full) {
    void *found = library ? dlsym(library, name) : NULL;
    if (found && found != of_full) return found;
    rbe_fail(RBE_IO_ERROR, "librbe_infer.so: expected a function %s of its own: %s", name, found ? "none" : dlerror());
    return NULL;
}

rbe_status small_library_open(small_library *small) {
    char path[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length < 0) return rbe_fail(RBE_IO_ERROR, "the program's folder cannot be found");
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    strcat(path, "/../librbe_infer.so");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return rbe_fail(RBE_IO_ERROR, "%s", dlerror());
#define FIND(name)                                                                                                     \
    if (!(*(void **)&small->name = find(library, #name, (void *)name))) return rbe_last_status();
    RBE_INFER_FUNCTIONS(FIND)
#undef FIND
    return RBE_OK;
}
