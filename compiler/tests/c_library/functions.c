/* Prints the bits of every scalar function of a row. */
#define _POSIX_C_SOURCE 200809L

#include "net.h"

#include <string.h>

#include "checks.h"

#define N 64

int main(void)
{
    void *storage = block(NET_STORAGE_BYTES), *arena = block(NET_ARENA_BYTES), *scratch = block(NET_SCRATCH_BYTES(1));
    static float x[N], y[10][N];
    net_t net;
    int i, k;
    for (i = 0; i < N; i++) {
        x[i] = (float)(i + 1) / 16.0f;
    }
    CHECK(net_open(&net, storage, arena, scratch, 1) == NET_OK);
    CHECK(net_predict(&net, 1, x, y[0], y[1], y[2], y[3], y[4], y[5], y[6], y[7], y[8], y[9]) == NET_OK);
    for (k = 0; k < 10; k++) {
        for (i = 0; i < N; i++) {
            uint32_t bits;
            memcpy(&bits, &y[k][i], sizeof bits);
            printf("%08x\n", (unsigned)bits);
        }
    }
    net_close(&net);
    free(storage);
    free(arena);
    free(scratch);
    return 0;
}
