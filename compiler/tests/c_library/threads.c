/* What the threads of a handle share with its calls: the floating-point environment, the process, and the limits of the
 * system. The program ends by itself, or by an alarm where something hangs. */
#define _POSIX_C_SOURCE 200809L

#include "net.h"

#include <fenv.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checks.h"

#define ROWS NET_MAX_BATCH
#define COLUMNS 64

static float x[ROWS * COLUMNS], halves[ROWS * COLUMNS], found[ROWS * COLUMNS];

static void predict(net_t *net, const float *expected)
{
    memset(found, 0x7f, sizeof found);
    CHECK(net_predict(net, ROWS, x, found) == NET_OK);
    CHECK(memcmp(found, expected, sizeof found) == 0);
}

/* Halves of numbers that are subnormal or become so. */
static void environment(net_t *net)
{
    static const int roundings[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    static float flushed[ROWS * COLUMNS];
    size_t i;
    for (i = 0; i < ROWS * COLUMNS; i++) {
        flushed[i] = i % 3 == 0 ? halves[i] : i % 6 == 4 ? -0.0f : 0.0f;
    }
    CHECK(memcmp(flushed, halves, sizeof halves) != 0);
    for (i = 0; i < 4; i++) {
        CHECK(fesetround(roundings[i]) == 0);
        CHECK(feraiseexcept(FE_DIVBYZERO) == 0);
        CHECK(net_keep_subnormals(net, 0) == NET_OK);
        predict(net, flushed);
        CHECK(net_keep_subnormals(net, 1) == NET_OK);
        predict(net, halves);
        CHECK(fegetround() == roundings[i] && fetestexcept(FE_DIVBYZERO) != 0);
    }
    /* The program's own arithmetic keeps them. */
    {
        volatile float small = 1.2e-38f;
        CHECK(small * 0.5f > 0);
    }
}

/* Runs something in a child and waits for it. */
static void in_a_child(void (*run)(net_t *net), net_t *net)
{
    int status;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        run(net);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void calls(net_t *net)
{
    predict(net, halves);
    predict(net, halves);
    net_close(net);
}

static void closes(net_t *net)
{
    net_close(net);
    net_close(net);
}

static void changes(net_t *net)
{
    void *scratch = block(NET_SCRATCH_BYTES(3));
    CHECK(net_set_threads(net, scratch, 3) == NET_OK);
    predict(net, halves);
    CHECK(net_set_threads(net, scratch, 1) == NET_OK);
    predict(net, halves);
}

static void forks_again(net_t *net)
{
    in_a_child(calls, net);
    predict(net, halves);
}

/* No address space for the stacks of so many threads: an error, and the handle goes on with fewer. */
static void starts_too_many(net_t *net)
{
    const size_t many = 512;
    void *scratch = block(NET_SCRATCH_BYTES(many)), *arena = block(NET_ARENA_BYTES);
    struct rlimit limit;
    net_t other;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = 400 << 20;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(net_share(&other, net, arena, scratch, many) == NET_ERROR_THREAD_START);
    CHECK(net_predict(&other, ROWS, x, found) == NET_ERROR_NULL);
    CHECK(net_share(&other, net, arena, scratch, 1) == NET_OK);
    CHECK(net_set_threads(&other, scratch, many) == NET_ERROR_THREAD_START);
    predict(&other, halves);
    CHECK(net_set_threads(&other, scratch, 2) == NET_OK);
    predict(&other, halves);
    net_close(&other);
}

int main(void)
{
    void *storage = block(NET_STORAGE_BYTES), *arena = block(NET_ARENA_BYTES), *scratch = block(NET_SCRATCH_BYTES(16));
    size_t threads, i;
    net_t net;
    alarm(300);
    for (i = 0; i < ROWS * COLUMNS; i++) {
        x[i] = i % 3 == 0 ? (float)i : i % 6 == 1 ? 1.2e-38f : i % 6 == 4 ? -3e-39f : 4e-45f;
        halves[i] = x[i] * 0.5f;
    }
    CHECK(net_open(&net, storage, arena, scratch, 1) == NET_OK);
    environment(&net);
    CHECK(net_keep_subnormals(&net, 1) == NET_OK);
    CHECK(net_tune_threads(&net, 0) == NET_OK);
    for (threads = 1; threads <= 16; threads *= 2) {
        CHECK(net_set_threads(&net, scratch, threads) == NET_OK);
        environment(&net);
        in_a_child(calls, &net);
        in_a_child(closes, &net);
        in_a_child(changes, &net);
        in_a_child(forks_again, &net);
        predict(&net, halves);
    }
    CHECK(net_tune_threads(&net, 1) == NET_OK);
    for (i = 0; i < 3000; i++) {
        predict(&net, halves);
    }
    in_a_child(starts_too_many, &net);
    CHECK(net_tune_threads(NULL, 1) == NET_ERROR_NULL);
    CHECK(net_keep_subnormals(NULL, 1) == NET_ERROR_NULL);
    net_close(&net);
    CHECK(net_keep_subnormals(&net, 1) == NET_ERROR_NULL);
    free(storage);
    free(arena);
    free(scratch);
    return 0;
}
