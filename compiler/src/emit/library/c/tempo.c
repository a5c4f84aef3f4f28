/* ---- How many threads calls have -----------------------------------------------------------------------------------
 *
 * The estimate of the compiler says how many threads a call may be worth; whether it is depends on the processor and on
 * who else uses it. So calls that may be worth several threads are timed, each entry point and power of two of the batch
 * for itself: a row of calls as before, a row with another number of threads, and the faster number stays. That is
 * repeated at growing distances, and at once when calls take twice the time that they did.
 *
 * The choices lie behind the workers in the scratch memory. They never change a result. */

/* The calls of a row that count, behind a first one that wakes threads and fills caches: the fewest, and the most in less
 * than ROW_NS. */
#define FEWEST 4
#define MOST 64
#define ROW_NS 1000000
/* Calls between two comparisons: at first, and the most after doubling whenever a choice holds. */
#define FIRST_REST 32
#define LONGEST_REST (1 << 14)
/* More threads have to bring a call down to this part of its time. */
#define GAIN 0.95
/* A number of threads that takes so many times as long is given up early. */
#define HOPELESS 1.25
/* Calls that take so many times as long, or a part as small, as when their threads were chosen are compared again. */
#define DRIFT 2.0
#define UNKNOWN UINT32_MAX

enum { BEFORE, TRIAL, REST };

/* A choice among most, most / 2, most / 4, ... 1 threads, by how often `most` is halved. */
struct choice {
    uint32_t kept;
    uint32_t tried;
    uint32_t untried; /* numbers to try before the first rest; UNKNOWN until the first row is full */
    uint32_t phase;
    uint32_t left; /* calls of the rest that are left */
    uint32_t rest; /* calls of a whole rest */
    uint32_t calls; /* of the row, and the times of all but the first, and of the longest */
    int64_t total;
    int64_t longest;
    double expected; /* nanoseconds of a call with the kept number */
};

typedef char choices_fit[sizeof(struct choice) * BATCHES <= CHOICES_BYTES ? 1 : -1];

static struct choice *choices_of(const model_t *model, size_t entry)
{
    char *pool = (char *)model->scratch;
    return (struct choice *)(pool + POOL_BYTES + model->threads * WORKER_BYTES + entry * CHOICES_BYTES);
}

/* Batches 1, 2 to 3, 4 to 7, ... have their own. */
static struct choice *choice_of(const model_t *model, size_t entry, size_t batch)
{
    size_t power = 0;
    while (batch >>= 1) {
        power++;
    }
    return &choices_of(model, entry)[power];
}

static void begin_choices(const model_t *model)
{
    size_t entry, power;
    memset(choices_of(model, 0), 0, ENTRIES * CHOICES_BYTES);
    for (entry = 0; entry < ENTRIES; entry++) {
        for (power = 0; power < BATCHES; power++) {
            choices_of(model, entry)[power].untried = UNKNOWN;
            choices_of(model, entry)[power].rest = FIRST_REST;
        }
    }
}

static uint32_t halvings(size_t most)
{
    uint32_t count = 0;
    while (most >>= 1) {
        count++;
    }
    return count;
}

/* The threads of the next call, where the estimate allows so many. */
static size_t chosen(const struct choice *choice, size_t most)
{
    const size_t threads = most >> (choice->phase == TRIAL ? choice->tried : choice->kept);
    return threads == 0 ? 1 : threads;
}

static void enter(struct choice *choice, uint32_t phase)
{
    choice->phase = phase;
    choice->calls = 0;
    choice->total = 0;
    choice->longest = 0;
}

/* The mean of the row, but for the longest call, which something else may have disturbed. */
static double row_mean(const struct choice *choice)
{
    return (double)(choice->total - choice->longest) / (double)(choice->calls - 2);
}

static uint32_t below(uint32_t halved, uint32_t last)
{
    return halved == 0 || halved > last ? last : halved - 1;
}

/* The number to try next: from one thread to the most, and again, but for the kept one. */
static uint32_t next_to_try(const struct choice *choice, size_t most)
{
    const uint32_t last = halvings(most), next = below(choice->tried, last);
    return next == choice->kept ? below(next, last) : next;
}

static void decide(struct choice *choice)
{
    const double bar = choice->tried < choice->kept ? GAIN : 1.0;
    if (row_mean(choice) <= bar * choice->expected) {
        choice->kept = choice->tried;
        choice->expected = row_mean(choice);
        choice->rest = FIRST_REST;
    } else if (choice->untried == 0 && choice->rest < LONGEST_REST) {
        choice->rest *= 2;
    }
    if (choice->untried > 0) {
        choice->untried--;
    }
    choice->left = choice->rest;
    enter(choice, choice->untried > 0 ? BEFORE : REST);
}

/* Learns how long a call took. */
static void took(struct choice *choice, size_t most, int64_t time)
{
    int full;
    choice->calls++;
    if (choice->calls > 1) {
        choice->total += time;
        choice->longest = time > choice->longest ? time : choice->longest;
    }
    full = choice->calls > FEWEST && (choice->total >= ROW_NS || choice->calls > MOST);
    if (choice->phase == BEFORE && full) {
        choice->expected = row_mean(choice);
        enter(choice, TRIAL);
        choice->tried = next_to_try(choice, most);
        choice->untried = choice->untried == UNKNOWN ? halvings(most) : choice->untried;
    } else if (choice->phase == TRIAL) {
        if (full || (choice->calls > 2 && row_mean(choice) > HOPELESS * choice->expected)) {
            decide(choice);
        }
    } else if (choice->phase == REST && --choice->left == 0) {
        enter(choice, BEFORE);
    } else if (choice->phase == REST && full) {
        const double change = row_mean(choice) / choice->expected;
        enter(choice, REST);
        if (change > DRIFT || change < 1.0 / DRIFT) {
            choice->rest = FIRST_REST;
            enter(choice, BEFORE);
        }
    }
}
