/* What the test programs share: checks and memory. */
#ifndef CHECKS_H
#define CHECKS_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                           \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

static void *block(size_t bytes)
{
    void *memory = NULL;
    CHECK(posix_memalign(&memory, NET_ALIGN, bytes) == 0);
    return memory;
}

#endif
