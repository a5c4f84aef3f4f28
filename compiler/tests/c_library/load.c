/* Loads every file that is named, none of which may change the model or touch memory that is not its own: prints the
 * error's code and the parameter at fault. */
#define _POSIX_C_SOURCE 200809L

#include "net.h"

#include <string.h>

#include "checks.h"

#ifdef SOURCE
/* The library's source is compiled with the program and finds no kernels in the library; loading needs none. */
const void *bakelite_kernels_table(size_t level);

const void *bakelite_kernels_table(size_t level)
{
    static const int none;
    return level == 0 ? &none : NULL;
}
#endif

int main(int count, char **paths)
{
    void *storage = block(NET_STORAGE_BYTES), *arena = block(NET_ARENA_BYTES), *scratch = block(NET_SCRATCH_BYTES(1));
    void *before = block(NET_STORAGE_BYTES);
    net_t net;
    int i;
    CHECK(net_open(&net, storage, arena, scratch, 1) == NET_OK);
    memset(storage, 0x5a, NET_STORAGE_BYTES);
    memcpy(before, storage, NET_STORAGE_BYTES);
    for (i = 1; i < count; i++) {
        const int code = net_load(&net, paths[i]);
        const char *name = net_param_name(net_fault(&net));
        printf("%d %s\n", code, name == NULL ? "-" : name);
        CHECK(code == NET_OK || memcmp(before, storage, NET_STORAGE_BYTES) == 0);
        memcpy(storage, before, NET_STORAGE_BYTES);
    }
    net_close(&net);
    free(storage);
    free(arena);
    free(scratch);
    free(before);
    return 0;
}
