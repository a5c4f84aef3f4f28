typedef struct bakelite_text {
    const char *data; /* UTF-8, not terminated */
    size_t len;
} bakelite_text;

/* One extent: scale, times the batch of the call where batch is 1. */
typedef struct bakelite_extent {
    size_t scale;
    size_t batch;
} bakelite_extent;

/* A named tensor in the storage block. */
typedef struct bakelite_cell {
    bakelite_text name;
    uint32_t dtype;     /* BAKELITE_F32, ... */
    uint32_t kind;      /* 0 parameter, 1 state, 2 state of training */
    uint32_t trainable; /* 1 where the optimizer updates it */
    uint32_t panel;     /* 0: row-major; else kept as [columns / panel, rows, panel] */
    const size_t *shape;
    size_t rank;
    size_t offset; /* in bytes */
    size_t bytes;
    uint64_t first;  /* the bits of every element's value when the model is opened, in the low bytes */
    uint32_t begins; /* 1 where first is a value; 0 where there is none until the cell is initialised, loaded or set */
    uint32_t reserved;
} bakelite_cell;

/* An argument or a result of an entry point: a dense row-major array. */
typedef struct bakelite_port {
    bakelite_text name;
    uint32_t dtype;
    uint32_t limited; /* 1 where elements have to be at least low and less than high, once fractions are cut off */
    const bakelite_extent *shape;
    size_t rank;
    int64_t low;
    int64_t high;
    bakelite_text text; /* the layer that makes the argument of text, as JSON; empty for any other argument */
} bakelite_port;

/* The arguments of one call, shared by its threads. */
typedef struct bakelite_call {
    const void *kernels;        /* the kernel table of the level whose code is called */
    void *storage;              /* storage_bytes */
    void *arena;                /* arena_bytes */
    void *scratch;              /* threads * scratch_bytes */
    const void *const *inputs;  /* in the entry point's order */
    void *const *outputs;       /* in the entry point's order */
    size_t batch;               /* from 1 to max_batch */
    void (*wait)(const void *barrier, size_t thread); /* blocks until every thread of the call is here */
    const void *barrier;
} bakelite_call;

/* Every thread of a call runs it with its own index; the call is complete when all have returned. */
typedef void (*bakelite_code)(const bakelite_call *call, size_t thread, size_t threads);

typedef struct bakelite_entry {
    bakelite_text name;
    const bakelite_port *inputs;
    size_t input_count;
    const bakelite_port *outputs;
    size_t output_count;
    const uint32_t *reads; /* the cells whose values before the call matter */
    size_t read_count;
    const uint32_t *writes; /* the cells that the call gives new values */
    size_t write_count;
    bakelite_code code[BAKELITE_LEVELS]; /* baseline, x86-64-v3, x86-64-v4, neon; null where absent */
    size_t parallel_batch[BAKELITE_SHARES]; /* [i]: the smallest batch that is worth 2 << i threads */
    uint64_t flops_row;
    uint64_t flops_fixed;
} bakelite_entry;

/* Storage, arena and scratch are the caller's, each aligned to BAKELITE_ALIGN bytes. */
typedef struct bakelite_model {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t reserved;
    bakelite_text name;
    size_t max_batch;
    size_t storage_bytes;
    size_t arena_bytes;
    size_t scratch_bytes; /* of one thread */
    const bakelite_cell *cells;
    size_t cell_count;
    const bakelite_entry *entries;
    size_t entry_count;
} bakelite_model;
