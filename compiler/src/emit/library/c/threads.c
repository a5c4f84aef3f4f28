/* ---- Floating-point environment ------------------------------------------------------------------------------------
 *
 * Every thread of a call rounds to nearest, without traps, and flushes subnormal numbers to zero or keeps them; on
 * return the caller has its own environment back. */

#if defined(__x86_64__)

typedef uint32_t environment;
/* The register MXCSR at the start of a process; flushing adds flush-to-zero and denormals-are-zero. */
#define KEEP_SUBNORMALS 0x1f80u
#define FLUSH_SUBNORMALS (KEEP_SUBNORMALS | 1u << 15 | 1u << 6)

static environment get_environment(void)
{
    environment word;
    __asm__ __volatile__("stmxcsr %0" : "=m"(word) : : "memory");
    return word;
}

static void set_environment(environment word)
{
    __asm__ __volatile__("ldmxcsr %0" : : "m"(word) : "memory");
}

#elif defined(__aarch64__)

typedef uint64_t environment;
/* The register FPCR at the start of a process; flushing adds flush-to-zero. */
#define KEEP_SUBNORMALS ((uint64_t)0)
#define FLUSH_SUBNORMALS ((uint64_t)1 << 24)

static environment get_environment(void)
{
    environment word;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(word) : : "memory");
    return word;
}

static void set_environment(environment word)
{
    __asm__ __volatile__("msr fpcr, %0" : : "r"(word) : "memory");
}

#else
#error "there is no code for this processor"
#endif

/* ---- Threads -------------------------------------------------------------------------------------------------------
 *
 * A model on several threads keeps them between calls. A call is handed to each worker that takes part in it by
 * advancing the worker's own count of jobs, and is complete when the last of them has counted itself done. A thread
 * that waits, for a job, at a barrier or for the end of a call, spins for about as long as falling asleep and waking up
 * would take, then sleeps, so that the processors are left to those who work. Where spinning was in vain lately it
 * spins less: half as long each time, and in full again at every sixteenth wait, to find out whether it pays by now.
 *
 * The pool lies at the beginning of the model's scratch memory. It belongs to the process that started it: after fork
 * the child has the memory but none of the threads, and starts its own with the first call. */

/* The longest spin in nanoseconds, and where threads outnumber the processors. */
#define SPIN_NS 50000
#define SPIN_CROWDED_NS 2000
/* Looks at what is waited for between two looks at the clock. */
#define LOOKS 16
/* Two cache lines, since processors fetch lines in pairs; POOL_BYTES and WORKER_BYTES are multiples. */
#define APART 128
/* More than MODEL_MAX_THREADS. */
#define GENERATION ((size_t)1 << 16)

/* Kinds of waiting. */
enum { AT_BARRIER, FOR_JOB, FOR_END, WAITS };

struct pool;

/* Where one thread waits for the others. */
struct seat {
    /* Jobs that the thread was given; for the first, whose thread calls, those that the workers have finished. */
    size_t jobs;
    /* Whether it sleeps, or is about to. */
    int asleep;
    /* Waits in vain in a row; only its own thread touches them. */
    unsigned vain[WAITS];
    sem_t bell;
    struct pool *pool;
    size_t index;
    pthread_t thread;
};

struct pool {
    /* The barrier: its generation times GENERATION, plus the number of threads that have arrived in it. */
    size_t barrier;
    char pad1[APART - sizeof(size_t)];
    /* Workers that have not finished the current job. */
    size_t busy;
    char pad2[APART - sizeof(size_t)];
    /* The job, written while the workers that take part in it wait; without code it ends them. */
    bakelite_code code;
    const bakelite_call *call;
    size_t threads;
    environment environment;
    int64_t spin;
    /* Forks between the first process that opened a model and the one that the threads are of; NO_PROCESS where they
     * did not start. */
    size_t process;
};

#define NO_PROCESS SIZE_MAX

typedef char pool_fits[sizeof(struct pool) <= POOL_BYTES ? 1 : -1];
typedef char seat_fits[sizeof(struct seat) <= WORKER_BYTES ? 1 : -1];

static size_t forks;

static void count_fork(void)
{
    forks++;
}

static int counts_forks;

static void begin_to_count(void)
{
    counts_forks = pthread_atfork(NULL, NULL, count_fork) == 0;
}

static struct pool *pool_of(const model_t *model)
{
    return (struct pool *)model->scratch;
}

static struct seat *seat_of(struct pool *pool, size_t index)
{
    return (struct seat *)((char *)pool + POOL_BYTES + index * WORKER_BYTES);
}

static void pause_spinning(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("pause");
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void wake(struct seat *seat)
{
    if (__atomic_load_n(&seat->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&seat->asleep, 0, __ATOMIC_SEQ_CST)) {
        sem_post(&seat->bell);
    }
}

/* Whether a word that others change has another value than before: for the barrier another generation. */
static int has_changed(const size_t *word, size_t before, size_t unit)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST) / unit != before / unit;
}

/* Blocks until another thread has changed a word, and has woken the seat then. */
static void await(struct seat *seat, int kind, const size_t *word, size_t before, size_t unit)
{
    unsigned *vain = &seat->vain[kind];
    const int whole = *vain % 16 == 15;
    const int64_t patience = whole ? seat->pool->spin : seat->pool->spin >> (*vain < 6 ? *vain : 6);
    int64_t start;
    int look;
    if (has_changed(word, before, unit)) {
        return;
    }
    start = now();
    do {
        for (look = 0; look < LOOKS; look++) {
            pause_spinning();
            if (has_changed(word, before, unit)) {
                *vain = whole || *vain == 0 ? 0 : *vain - 1;
                return;
            }
        }
    } while (now() - start < patience);
    *vain += 1;
    /* Someone may still ring for what has been waited for before: then this one looks and sleeps again. */
    while (!has_changed(word, before, unit)) {
        /* The flag is raised before the last look, and others change the word before they look at the flag: at least
         * one of the two sees the other. */
        __atomic_store_n(&seat->asleep, 1, __ATOMIC_SEQ_CST);
        if (has_changed(word, before, unit) && __atomic_exchange_n(&seat->asleep, 0, __ATOMIC_SEQ_CST)) {
            return;
        }
        while (sem_wait(&seat->bell) != 0) {
            /* a signal was handled */
        }
    }
}

/* Blocks until every thread of the current job has called it. */
static void pool_wait(const void *barrier, size_t thread)
{
    struct pool *pool = (struct pool *)(uintptr_t)barrier;
    const size_t before = __atomic_fetch_add(&pool->barrier, 1, __ATOMIC_SEQ_CST);
    size_t other;
    if (before % GENERATION + 1 < pool->threads) {
        await(seat_of(pool, thread), AT_BARRIER, &pool->barrier, before, GENERATION);
        return;
    }
    /* No thread arrives again before the generation changes, so the store loses nothing. */
    __atomic_store_n(&pool->barrier, (before / GENERATION + 1) * GENERATION, __ATOMIC_SEQ_CST);
    for (other = 0; other < pool->threads; other++) {
        wake(seat_of(pool, other));
    }
}

/* The wait of a call on one thread. */
static void wait_alone(const void *barrier, size_t thread)
{
    (void)barrier;
    (void)thread;
}

static void *work(void *argument)
{
    struct seat *seat = (struct seat *)argument;
    struct pool *pool = seat->pool;
    size_t seen;
    for (seen = 0;; seen++) {
        await(seat, FOR_JOB, &seat->jobs, seen, 1);
        if (pool->code == NULL) {
            return NULL;
        }
        set_environment(pool->environment);
        pool->code(pool->call, seat->index, pool->threads);
        if (__atomic_fetch_sub(&pool->busy, 1, __ATOMIC_SEQ_CST) == 1) {
            struct seat *caller = seat_of(pool, 0);
            __atomic_fetch_add(&caller->jobs, 1, __ATOMIC_SEQ_CST);
            wake(caller);
        }
    }
}

/* Hands a job to the workers of `threads` threads, all of which wait for one. */
static void hand_out(struct pool *pool, size_t threads, bakelite_code code, const bakelite_call *call)
{
    size_t index;
    pool->code = code;
    pool->call = call;
    pool->threads = threads;
    __atomic_store_n(&pool->busy, threads - 1, __ATOMIC_RELAXED);
    for (index = 1; index < threads; index++) {
        __atomic_fetch_add(&seat_of(pool, index)->jobs, 1, __ATOMIC_SEQ_CST);
    }
    for (index = 1; index < threads; index++) {
        wake(seat_of(pool, index));
    }
}

/* Runs a call on so many threads, in the environment that this one has, and returns when all have finished. */
static void pool_run(struct pool *pool, size_t threads, bakelite_code code, const bakelite_call *call)
{
    struct seat *seat = seat_of(pool, 0);
    const size_t seen = seat->jobs;
    pool->environment = get_environment();
    hand_out(pool, threads, code, call);
    code(call, 0, threads);
    await(seat, FOR_END, &seat->jobs, seen, 1);
}

/* Ends the threads before the one with index `started`. */
static void pool_end(struct pool *pool, size_t started)
{
    size_t index;
    if (pool->process != forks) {
        return; /* they are threads of another process */
    }
    hand_out(pool, started, NULL, NULL);
    for (index = 1; index < started; index++) {
        pthread_join(seat_of(pool, index)->thread, NULL);
    }
    for (index = 0; index < started; index++) {
        sem_destroy(&seat_of(pool, index)->bell);
    }
}

/* Starts the workers of a model; nothing for one thread. */
static int pool_start(model_t *model)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct pool *pool = pool_of(model);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t index;
    if (model->threads == 1) {
        return MODEL_OK;
    }
    if (pthread_once(&once, begin_to_count) != 0 || !counts_forks) {
        return MODEL_ERROR_THREAD_START;
    }
    memset(pool, 0, sizeof *pool);
    pool->spin = processors > 0 && model->threads > (size_t)processors ? SPIN_CROWDED_NS : SPIN_NS;
    pool->process = forks;
    for (index = 0; index < model->threads; index++) {
        struct seat *seat = seat_of(pool, index);
        memset(seat, 0, sizeof *seat);
        seat->pool = pool;
        seat->index = index;
        if (sem_init(&seat->bell, 0, 0) != 0) {
            break;
        }
        if (index > 0 && pthread_create(&seat->thread, NULL, work, seat) != 0) {
            sem_destroy(&seat->bell);
            break;
        }
    }
    if (index < model->threads) {
        pool_end(pool, index);
        pool->process = NO_PROCESS;
        return MODEL_ERROR_THREAD_START;
    }
    return MODEL_OK;
}
