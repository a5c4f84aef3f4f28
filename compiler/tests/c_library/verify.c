/* Opens a model and lets it check itself against stored answers: prints the deviation, once
 * its weights are loaded. */
#define _POSIX_C_SOURCE 200809L

#include "net.h"

#include "checks.h"

int main(int count, char **arguments)
{
    net_t model;
    double deviation = -1;
    unsigned char *work = (unsigned char *)block(NET_VERIFY_BYTES + NET_ALIGN);
    CHECK(count == 2);
    CHECK(net_verify(&model, NULL, &deviation) == NET_ERROR_NULL);
    CHECK(net_open(&model, block(NET_STORAGE_BYTES), block(NET_ARENA_BYTES), block(NET_SCRATCH_BYTES(1)), 1) == NET_OK);
    CHECK(net_verify(&model, work, NULL) == NET_ERROR_NULL);
    CHECK(net_verify(&model, work + 4, &deviation) == NET_ERROR_ALIGNMENT);
    CHECK(net_verify(&model, work, &deviation) == NET_ERROR_NO_VALUE);
    CHECK(net_load(&model, arguments[1]) == NET_OK);
    CHECK(net_verify(&model, work, &deviation) == NET_OK);
    printf("%.9g\n", deviation);
    net_close(&model);
    return 0;
}
