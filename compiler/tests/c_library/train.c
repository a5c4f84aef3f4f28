/* Trains a network on one thread and on two, saves and loads it, and predicts: prints every loss as its bits. The
 * arguments are a file to write and one that the Rust runtime wrote after the same steps. */
#define _POSIX_C_SOURCE 200809L

#include "net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "checks.h"

#define ROWS 32
#define STEPS 20

static float images[ROWS * 64];
static int32_t digits[ROWS];
static float expected[ROWS * 10];

/* Multiples of 1/256 in [-1, 1), from a small generator. */
static uint32_t state = 1;

static uint32_t draw(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static void fill(float *values, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        values[i] = (float)((int)(draw() % 512) - 256) / 256.0f;
    }
}

static void train(net_t *net)
{
    float first = 0, loss = 0, accuracy = 0;
    int step;
    for (step = 0; step < STEPS; step++) {
        uint32_t bits;
        /* The last batches are partial ones. */
        const size_t rows = step < STEPS - 2 ? ROWS : 5;
        CHECK(net_train_step(net, rows, images, digits, &loss, &accuracy) == NET_OK);
        memcpy(&bits, &loss, sizeof bits);
        printf("%08x %.9g\n", (unsigned)bits, (double)loss);
        first = step == 0 ? loss : first;
    }
    CHECK(loss < 0.7f * first);
}

struct job {
    const net_t *net;
    int ok;
};

/* Predicts on a handle of its own over the shared parameters. */
static void *predict(void *argument)
{
    struct job *job = (struct job *)argument;
    void *arena = block(NET_ARENA_BYTES), *scratch = block(NET_SCRATCH_BYTES(1));
    static const int rounds = 50;
    float logits[ROWS * 10];
    net_t mine;
    int round;
    job->ok = net_share(&mine, job->net, arena, scratch, 1) == NET_OK;
    for (round = 0; job->ok && round < rounds; round++) {
        job->ok = net_predict(&mine, ROWS, images, logits) == NET_OK && memcmp(logits, expected, sizeof logits) == 0;
    }
    net_close(&mine);
    free(arena);
    free(scratch);
    return NULL;
}

static void predict_in_parallel(const net_t *net)
{
    pthread_t threads[3];
    struct job jobs[3];
    size_t i;
    for (i = 0; i < 3; i++) {
        jobs[i].net = net;
        CHECK(pthread_create(&threads[i], NULL, predict, &jobs[i]) == 0);
    }
    for (i = 0; i < 3; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(jobs[i].ok);
    }
}

static void parameters(net_t *net)
{
    static float kernel[4096], again[4096];
    const size_t *shape;
    const size_t index = net_param_find("digit/kernel");
    size_t bytes, i;
    CHECK(index == NET_PARAM_DIGIT_KERNEL && strcmp(net_param_name(index), "digit/kernel") == 0);
    CHECK(net_param_dtype(index) == NET_F32);
    CHECK(net_param_shape(index, &shape) == 2 && shape[1] == 10);
    bytes = net_param_bytes(index);
    CHECK(bytes == shape[0] * 40 && bytes <= sizeof kernel);
    CHECK(net_param_get(net, index, kernel, bytes) == NET_OK);
    /* A kernel that is kept in panels comes out in logical order and goes back unchanged. */
    for (i = 0; i < NET_PARAM_COUNT; i++) {
        void *values = malloc(net_param_bytes(i) + 1), *back = malloc(net_param_bytes(i) + 1);
        CHECK(net_param_get(net, i, values, net_param_bytes(i)) == NET_OK);
        CHECK(net_param_set(net, i, values, net_param_bytes(i)) == NET_OK);
        CHECK(net_param_get(net, i, back, net_param_bytes(i)) == NET_OK);
        CHECK(memcmp(values, back, net_param_bytes(i)) == 0);
        free(values);
        free(back);
    }
    CHECK(net_param_get(net, index, again, bytes) == NET_OK && memcmp(kernel, again, bytes) == 0);
    CHECK(net_param_get(net, index, kernel, bytes - 4) == NET_ERROR_SIZE);
    CHECK(net_param_get(net, NET_PARAM_COUNT, kernel, bytes) == NET_ERROR_PARAM);
    CHECK(net_param_get(net, index, NULL, bytes) == NET_ERROR_NULL);
    CHECK(net_param_find("digit/kernels") == NET_PARAM_COUNT && net_param_find(NULL) == NET_PARAM_COUNT);
    CHECK(net_param_name(NET_PARAM_COUNT) == NULL && net_param_bytes(NET_PARAM_COUNT) == 0);
}

static void mistakes(net_t *net, char *arena)
{
    static net_t closed;
    net_t other;
    int code;
    CHECK(net_open(NULL, net->storage, arena, net->scratch, 1) == NET_ERROR_NULL);
    CHECK(net_open(&other, NULL, arena, net->scratch, 1) == NET_ERROR_NULL);
    CHECK(net_share(&other, net, arena + 1, net->scratch, 1) == NET_ERROR_ALIGNMENT);
    CHECK(net_share(&other, net, arena, net->scratch, 0) == NET_ERROR_THREADS);
    CHECK(net_share(&other, net, arena, net->scratch, NET_MAX_THREADS + 1) == NET_ERROR_THREADS);
    CHECK(net_share(&other, &closed, arena, net->scratch, 1) == NET_ERROR_NULL);
    CHECK(net_predict(&closed, 1, images, expected) == NET_ERROR_NULL);
    CHECK(net_predict(net, 0, images, expected) == NET_ERROR_BATCH);
    CHECK(net_predict(net, NET_MAX_BATCH + 1, images, expected) == NET_ERROR_BATCH);
    CHECK(net_predict(net, 1, NULL, expected) == NET_ERROR_NULL);
    CHECK(net_predict(net, 1, images, NULL) == NET_ERROR_NULL);
    CHECK(net_save(net, "", NET_WEIGHTS) == NET_ERROR_IO);
    CHECK(net_save(net, "no/such/folder/file", NET_WEIGHTS) == NET_ERROR_IO);
    CHECK(net_load(net, "no such file") == NET_ERROR_IO);
    CHECK(net_load(net, ".") == NET_ERROR_FILE);
    net_close(&closed);
    net_close(NULL);
    for (code = -1; code < 32; code++) {
        CHECK(net_error_text(code)[0] != '\0');
    }
    CHECK(strcmp(net_error_text(NET_OK), "success") == 0);
}

/* A disk that is full: the file that was there stays whole, and none is left beside it. */
static void full_disk(net_t *net, const char *path)
{
    struct rlimit before, small;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK(net_init(net, 3) == NET_OK);
    CHECK(net_save(net, path, NET_TRAINING) == NET_ERROR_IO && errno == EFBIG);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(net_load(net, path) == NET_OK);
}

int main(int count, char **arguments)
{
    void *storage = block(NET_STORAGE_BYTES), *scratch = block(NET_SCRATCH_BYTES(1)), *two = block(NET_SCRATCH_BYTES(2));
    char *arena = (char *)block(NET_ARENA_BYTES);
    static float logits[ROWS * 10];
    float loss, accuracy, again;
    net_t net;
    size_t i;
    CHECK(count == 3);
    fill(images, ROWS * 64);
    for (i = 0; i < ROWS; i++) {
        digits[i] = (int32_t)(draw() % 10);
    }
    CHECK(net_open(&net, storage, arena, scratch, 1) == NET_OK);
    fprintf(stderr, "%s\n", net_level(&net));
    CHECK(net_init(&net, 42) == NET_OK);
    train(&net);
    CHECK(net_predict(&net, ROWS, images, expected) == NET_OK);
    CHECK(net_save(&net, arguments[1], NET_TRAINING) == NET_OK);

    /* Two threads, and the same bits. */
    CHECK(net_set_threads(&net, two, 2) == NET_OK);
    CHECK(net_init(&net, 42) == NET_OK);
    train(&net);
    CHECK(net_predict(&net, ROWS, images, logits) == NET_OK);
    CHECK(memcmp(logits, expected, sizeof logits) == 0);
    predict_in_parallel(&net);
    parameters(&net);
    mistakes(&net, arena);
    full_disk(&net, arguments[1]);
    CHECK(net_predict(&net, ROWS, images, logits) == NET_OK);
    CHECK(memcmp(logits, expected, sizeof logits) == 0);

    /* Loading brings everything back, whoever wrote it. */
    CHECK(net_train_step(&net, ROWS, images, digits, &loss, &accuracy) == NET_OK);
    CHECK(net_load(&net, arguments[1]) == NET_OK && net_fault(&net) == NET_PARAM_COUNT);
    CHECK(net_train_step(&net, ROWS, images, digits, &again, &accuracy) == NET_OK && again == loss);
    CHECK(net_init(&net, 7) == NET_OK);
    CHECK(net_load(&net, arguments[2]) == NET_OK);
    CHECK(net_predict(&net, ROWS, images, logits) == NET_OK);
    for (i = 0; i < ROWS * 10; i++) {
        CHECK(logits[i] - expected[i] < 1e-4f && expected[i] - logits[i] < 1e-4f);
    }
    net_close(&net);
    net_close(&net);
    free(storage);
    free(arena);
    free(scratch);
    free(two);
    return 0;
}
