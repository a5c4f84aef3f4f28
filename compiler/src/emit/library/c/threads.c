/* ---- Threads -------------------------------------------------------------------------------------------------------
 *
 * A model on several threads keeps them between calls. A call is published by advancing an epoch, and is complete when
 * every worker has counted itself done. Workers wait for the next epoch by spinning for some tens of microseconds,
 * which covers the gap between two steps of a training loop, and then sleep. Where there are more threads than
 * processors they do not spin, but yield. The pool lies at the beginning of the model's scratch memory. */

/* Spins before a waiting thread lets others run, and the same where threads outnumber the processors. */
#define SPINS 2048
#define SPINS_OVERSUBSCRIBED 32
/* Two cache lines, since processors fetch lines in pairs. */
#define APART 128
/* More than MODEL_MAX_THREADS. */
#define GENERATION ((size_t)1 << 16)

struct pool {
    /* The barrier: its generation times GENERATION, plus the number of threads that have arrived in it. */
    size_t barrier;
    char pad1[APART - sizeof(size_t)];
    /* Advanced by one for each job. */
    size_t epoch;
    char pad2[APART - sizeof(size_t)];
    /* Workers that have finished the current job. */
    size_t done;
    char pad3[APART - sizeof(size_t)];
    size_t threads;
    size_t spins;
    /* The job, written while every worker waits for the next epoch; without code it ends them. */
    bakelite_code code;
    const bakelite_call *call;
    /* Workers that sleep, or are about to. */
    size_t asleep;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

struct worker {
    pthread_t thread;
    struct pool *pool;
    size_t index;
};

typedef char pool_fits[sizeof(struct pool) <= POOL_BYTES ? 1 : -1];
typedef char worker_fits[sizeof(struct worker) <= WORKER_BYTES ? 1 : -1];

static struct pool *pool_of(const model_t *model)
{
    return (struct pool *)model->scratch;
}

static struct worker *worker_of(struct pool *pool, size_t index)
{
    return (struct worker *)((char *)pool + POOL_BYTES + index * WORKER_BYTES);
}

static void spin(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ __volatile__("pause");
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

/* Blocks until every thread of the pool has called it. */
static void pool_wait(const void *barrier)
{
    struct pool *pool = (struct pool *)(uintptr_t)barrier;
    const size_t before = __atomic_fetch_add(&pool->barrier, 1, __ATOMIC_SEQ_CST);
    const size_t generation = before / GENERATION;
    size_t turns = 0;
    if (before % GENERATION + 1 == pool->threads) {
        /* No thread arrives again before the generation changes, so the store loses nothing. */
        __atomic_store_n(&pool->barrier, (generation + 1) * GENERATION, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&pool->barrier, __ATOMIC_ACQUIRE) / GENERATION == generation) {
        if (turns++ < pool->spins) {
            spin();
        } else {
            sched_yield();
        }
    }
}

/* The wait of a call on one thread. */
static void wait_alone(const void *barrier)
{
    (void)barrier;
}

/* Blocks until the epoch differs from `seen`. */
static void await_job(struct pool *pool, size_t seen)
{
    size_t turn;
    for (turn = 0; turn < pool->spins; turn++) {
        if (__atomic_load_n(&pool->epoch, __ATOMIC_ACQUIRE) != seen) {
            return;
        }
        spin();
    }
    pthread_mutex_lock(&pool->mutex);
    /* The count is raised before the last look at the epoch, and the publisher advances the epoch before it looks at
     * the count: at least one of the two sees the other. */
    __atomic_fetch_add(&pool->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pool->epoch, __ATOMIC_SEQ_CST) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    __atomic_fetch_sub(&pool->asleep, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument)
{
    struct worker *worker = (struct worker *)argument;
    struct pool *pool = worker->pool;
    size_t seen = 0;
    for (;;) {
        await_job(pool, seen++);
        if (pool->code == NULL) {
            return NULL;
        }
        pool->code(pool->call, worker->index, pool->threads);
        __atomic_fetch_add(&pool->done, 1, __ATOMIC_RELEASE);
    }
}

/* Hands a job to the workers, all of which wait for one. */
static void publish(struct pool *pool, bakelite_code code, const bakelite_call *call)
{
    pool->code = code;
    pool->call = call;
    __atomic_fetch_add(&pool->epoch, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

/* Runs a call on all threads and returns when all have finished. */
static void pool_run(struct pool *pool, bakelite_code code, const bakelite_call *call)
{
    const size_t workers = pool->threads - 1;
    size_t turns = 0;
    __atomic_store_n(&pool->done, 0, __ATOMIC_RELAXED);
    publish(pool, code, call);
    code(call, 0, pool->threads);
    while (__atomic_load_n(&pool->done, __ATOMIC_ACQUIRE) != workers) {
        if (turns++ < pool->spins) {
            spin();
        } else {
            sched_yield();
        }
    }
}

/* Ends the first workers, `started` with the caller's own thread. */
static void pool_end(struct pool *pool, size_t started)
{
    size_t index;
    publish(pool, NULL, NULL);
    for (index = 1; index < started; index++) {
        pthread_join(worker_of(pool, index)->thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
}

/* Starts the workers of a model; nothing for one thread. */
static int pool_start(model_t *model)
{
    struct pool *pool = pool_of(model);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t index;
    if (model->threads == 1) {
        return MODEL_OK;
    }
    memset(pool, 0, sizeof *pool);
    pool->threads = model->threads;
    pool->spins = processors > 0 && model->threads > (size_t)processors ? SPINS_OVERSUBSCRIBED : SPINS;
    if (pthread_mutex_init(&pool->mutex, NULL) != 0) {
        return MODEL_ERROR_THREAD_START;
    }
    if (pthread_cond_init(&pool->wake, NULL) != 0) {
        pthread_mutex_destroy(&pool->mutex);
        return MODEL_ERROR_THREAD_START;
    }
    for (index = 1; index < model->threads; index++) {
        struct worker *worker = worker_of(pool, index);
        worker->pool = pool;
        worker->index = index;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
            pool_end(pool, index);
            return MODEL_ERROR_THREAD_START;
        }
    }
    return MODEL_OK;
}
