/* ---- Opening and calling ----------------------------------------------------------------------------------------- */

static int misaligned(const void *block)
{
    return (uintptr_t)block % MODEL_ALIGN != 0;
}

/* Chooses the strongest level that the processor executes and the library has code for, or the one that the
 * environment names. */
static int choose_level(model_t *model)
{
    const char *forced = getenv("BAKELITE_LEVEL");
    size_t level, entry;
    for (level = BAKELITE_LEVELS; level-- > 0;) {
        const void *kernels = kernel_table(level);
        if (kernels == NULL || (forced != NULL && *forced != '\0' && strcmp(forced, level_names[level]) != 0)) {
            continue;
        }
        for (entry = 0; entry < DESCRIPTOR.entry_count && DESCRIPTOR.entries[entry].code[level] != NULL; entry++) {
        }
        if (entry == DESCRIPTOR.entry_count) {
            model->level = level;
            model->kernels = kernels;
            return MODEL_OK;
        }
    }
    return MODEL_ERROR_LEVEL;
}

/* One byte for each cell, behind the last of them in the storage: whether it has a value. */
static unsigned char *given(const model_t *model)
{
    return (unsigned char *)model->storage + DESCRIPTOR.storage_bytes;
}

/* The values that cells begin with, and none in those that have to be given one. */
static void first_values(model_t *model)
{
    size_t index, i, byte;
    memset(model->storage, 0, DESCRIPTOR.storage_bytes);
    for (index = 0; index < MODEL_PARAM_COUNT; index++) {
        const bakelite_cell *cell = &DESCRIPTOR.cells[index];
        unsigned char *data = (unsigned char *)model->storage + cell->offset;
        const size_t size = dtype_bytes[cell->dtype];
        given(model)[index] = cell->begins != 0;
        for (i = 0; cell->first != 0 && i < cell->bytes; i += size) {
            for (byte = 0; byte < size; byte++) {
                data[i + byte] = (unsigned char)(cell->first >> (8 * byte));
            }
        }
    }
}

static int open_on(model_t *model, void *storage, void *arena, void *scratch, size_t threads)
{
    int error;
    if (arena == NULL || scratch == NULL) {
        return MODEL_ERROR_NULL;
    }
    if (misaligned(storage) || misaligned(arena) || misaligned(scratch)) {
        return MODEL_ERROR_ALIGNMENT;
    }
    if (threads == 0 || threads > MODEL_MAX_THREADS) {
        return MODEL_ERROR_THREADS;
    }
    model->storage = storage;
    model->arena = arena;
    model->scratch = scratch;
    model->threads = threads;
    model->fault = MODEL_PARAM_COUNT;
    begin_choices(model);
    error = choose_level(model);
    return error != MODEL_OK ? error : pool_start(model);
}

int model_open(model_t *model, void *storage, void *arena, void *scratch, size_t threads)
{
    int error;
    if (model == NULL || storage == NULL) {
        return MODEL_ERROR_NULL;
    }
    memset(model, 0, sizeof *model);
    error = open_on(model, storage, arena, scratch, threads);
    if (error != MODEL_OK) {
        memset(model, 0, sizeof *model);
        return error;
    }
    first_values(model);
    return MODEL_OK;
}

int model_share(model_t *model, const model_t *other, void *arena, void *scratch, size_t threads)
{
    int error;
    if (model == NULL || other == NULL || other->storage == NULL) {
        return MODEL_ERROR_NULL;
    }
    memset(model, 0, sizeof *model);
    error = open_on(model, other->storage, arena, scratch, threads);
    if (error != MODEL_OK) {
        memset(model, 0, sizeof *model);
        return error;
    }
    model->keeps_subnormals = other->keeps_subnormals;
    model->fixed_threads = other->fixed_threads;
    return MODEL_OK;
}

void model_close(model_t *model)
{
    if (model == NULL || model->storage == NULL) {
        return;
    }
    if (model->threads > 1) {
        pool_end(pool_of(model), model->threads);
    }
    memset(model, 0, sizeof *model);
}

int model_set_threads(model_t *model, void *scratch, size_t threads)
{
    int error;
    if (model == NULL || model->storage == NULL || scratch == NULL) {
        return MODEL_ERROR_NULL;
    }
    if (misaligned(scratch)) {
        return MODEL_ERROR_ALIGNMENT;
    }
    if (threads == 0 || threads > MODEL_MAX_THREADS) {
        return MODEL_ERROR_THREADS;
    }
    if (model->threads > 1) {
        pool_end(pool_of(model), model->threads);
    }
    model->scratch = scratch;
    model->threads = threads;
    error = pool_start(model);
    if (error != MODEL_OK) {
        model->threads = 1;
    }
    begin_choices(model);
    return error;
}

int model_tune_threads(model_t *model, int tune)
{
    if (model == NULL || model->storage == NULL) {
        return MODEL_ERROR_NULL;
    }
    model->fixed_threads = tune == 0;
    return MODEL_OK;
}

int model_keep_subnormals(model_t *model, int keep)
{
    if (model == NULL || model->storage == NULL) {
        return MODEL_ERROR_NULL;
    }
    model->keeps_subnormals = keep != 0;
    return MODEL_OK;
}

const char *model_level(const model_t *model)
{
    return model == NULL || model->storage == NULL ? "" : level_names[model->level];
}

/* Whether every element of an input is in the range that it has. */
static int in_range(const bakelite_port *port, const void *values, size_t batch)
{
    const int64_t low = port->low, high = port->high;
    size_t axis, i, count = 1;
    int outside = 0;
    for (axis = 0; axis < port->rank; axis++) {
        count *= port->shape[axis].scale * (port->shape[axis].batch ? batch : 1);
    }
#define EVERY(type, is_outside)                 \
    do {                                        \
        const type *const v = (const type *)values; \
        for (i = 0; i < count; i++) {           \
            outside |= is_outside;              \
        }                                       \
    } while (0)
    switch (port->dtype) {
    case MODEL_F32:
        EVERY(float, !(v[i] > (float)(low - 1) && v[i] < (float)high));
        break;
    case MODEL_F64:
        EVERY(double, !(v[i] > (double)(low - 1) && v[i] < (double)high));
        break;
    case MODEL_I32:
        EVERY(int32_t, (v[i] < low) | (v[i] >= high));
        break;
    case MODEL_U32:
        EVERY(uint32_t, (v[i] < low) | (v[i] >= high));
        break;
    case MODEL_U8:
        EVERY(uint8_t, (v[i] < low) | (v[i] >= high));
        break;
    default:
        break;
    }
#undef EVERY
    return !outside;
}

/* How many threads a call should have, `most` at most. Where nothing between two powers of two is known, all that there
 * are share what is worth the smaller one. */
static size_t threads_for(const bakelite_entry *entry, size_t batch, size_t most)
{
    size_t i;
    for (i = BAKELITE_SHARES; i-- > 0;) {
        if ((size_t)2 << i <= most && batch >= entry->parallel_batch[i]) {
            return most < (size_t)4 << i ? most : (size_t)2 << i;
        }
    }
    return 1;
}

static int run_entry(model_t *model, size_t which, size_t batch, const void *const *inputs, void *const *outputs)
{
    const bakelite_entry *entry = &DESCRIPTOR.entries[which];
    bakelite_call call;
    bakelite_code code;
    environment before;
    struct choice *choice = NULL;
    size_t port, index, threads, most;
    int64_t start = 0;
    if (model == NULL || model->storage == NULL) {
        return MODEL_ERROR_NULL;
    }
    for (port = 0; port < entry->input_count; port++) {
        if (inputs[port] == NULL) {
            return MODEL_ERROR_NULL;
        }
    }
    for (port = 0; port < entry->output_count; port++) {
        if (outputs[port] == NULL) {
            return MODEL_ERROR_NULL;
        }
    }
    if (batch == 0 || batch > DESCRIPTOR.max_batch) {
        return MODEL_ERROR_BATCH;
    }
    for (index = 0; index < entry->read_count; index++) {
        if (!given(model)[entry->reads[index]]) {
            model->fault = entry->reads[index];
            return MODEL_ERROR_NO_VALUE;
        }
    }
    for (port = 0; port < entry->input_count; port++) {
        if (entry->inputs[port].limited && !in_range(&entry->inputs[port], inputs[port], batch)) {
            return MODEL_ERROR_INDEX;
        }
    }
    call.kernels = model->kernels;
    call.storage = model->storage;
    call.arena = model->arena;
    call.scratch = (char *)choices_of(model, ENTRIES);
    call.inputs = inputs;
    call.outputs = outputs;
    call.batch = batch;
    call.wait = wait_alone;
    call.barrier = NULL;
    code = entry->code[model->level];
    most = threads_for(entry, batch, model->threads);
    if (most > 1 && !model->fixed_threads) {
        choice = choice_of(model, which, batch);
        start = now();
    }
    threads = choice == NULL ? most : chosen(choice, most);
    if (threads > 1 && pool_of(model)->process != forks) {
        const int error = pool_start(model);
        if (error != MODEL_OK) {
            return error;
        }
    }
    before = get_environment();
    set_environment(model->keeps_subnormals ? KEEP_SUBNORMALS : FLUSH_SUBNORMALS);
    if (threads == 1) {
        code(&call, 0, 1);
    } else {
        call.wait = pool_wait;
        call.barrier = pool_of(model);
        pool_run(pool_of(model), threads, code, &call);
    }
    set_environment(before);
    if (choice != NULL) {
        took(choice, most, now() - start);
    }
    /* Handles that share a storage may read it at the same time: it is touched only by who changes it anyway. */
    for (index = 0; index < entry->write_count; index++) {
        given(model)[entry->writes[index]] = 1;
    }
    return MODEL_OK;
}

/* ---- Parameters by name ------------------------------------------------------------------------------------------ */

static size_t cell_rows(const bakelite_cell *cell, size_t *columns)
{
    size_t axis, rows = 1;
    *columns = cell->rank == 0 ? 1 : cell->shape[cell->rank - 1];
    for (axis = 0; axis + 1 < cell->rank; axis++) {
        rows *= cell->shape[axis];
    }
    return rows;
}

/* Visits the runs of a cell that lie together in both orders, in logical order: bytes [logical, logical + n) of the
 * row-major tensor are bytes [stored, stored + n) of the cell. */
static void each_run(const bakelite_cell *cell, void (*visit)(void *context, size_t logical, size_t stored, size_t n),
                     void *context)
{
    size_t columns, row, panel;
    const size_t rows = cell_rows(cell, &columns);
    if (cell->panel == 0 || cell->bytes == 0) {
        visit(context, 0, 0, cell->bytes);
        return;
    }
    for (row = 0; row < rows; row++) {
        const size_t size = dtype_bytes[cell->dtype];
        const size_t run = cell->panel * size;
        for (panel = 0; panel < columns / cell->panel; panel++) {
            visit(context, (row * columns + panel * cell->panel) * size, (panel * rows + row) * run, run);
        }
    }
}

struct copy {
    unsigned char *to;
    const unsigned char *from;
};

static void unpack_run(void *context, size_t logical, size_t stored, size_t n)
{
    const struct copy *copy = (const struct copy *)context;
    memcpy(copy->to + logical, copy->from + stored, n);
}

static void pack_run(void *context, size_t logical, size_t stored, size_t n)
{
    const struct copy *copy = (const struct copy *)context;
    memcpy(copy->to + stored, copy->from + logical, n);
}

static unsigned char *cell_data(const model_t *model, const bakelite_cell *cell)
{
    return (unsigned char *)model->storage + cell->offset;
}

static void pack(const model_t *model, const bakelite_cell *cell, const void *values)
{
    struct copy copy;
    copy.to = cell_data(model, cell);
    copy.from = (const unsigned char *)values;
    each_run(cell, pack_run, &copy);
    given(model)[cell - DESCRIPTOR.cells] = 1;
}

/* Whether bytes are values of the cell's type: a bool is 0 or 1. */
static int valid(const bakelite_cell *cell, const unsigned char *values)
{
    size_t i;
    for (i = 0; cell->dtype == MODEL_BOOL && i < cell->bytes; i++) {
        if (values[i] > 1) {
            return 0;
        }
    }
    return 1;
}

const char *model_param_name(size_t param)
{
    return param < MODEL_PARAM_COUNT ? cell_names[param] : NULL;
}

size_t model_param_find(const char *name)
{
    size_t param = 0;
    while (param < MODEL_PARAM_COUNT && (name == NULL || strcmp(name, cell_names[param]) != 0)) {
        param++;
    }
    return param;
}

int model_param_dtype(size_t param)
{
    return param < MODEL_PARAM_COUNT ? (int)DESCRIPTOR.cells[param].dtype : -1;
}

size_t model_param_shape(size_t param, const size_t **extents)
{
    if (param >= MODEL_PARAM_COUNT) {
        return 0;
    }
    if (extents != NULL) {
        *extents = DESCRIPTOR.cells[param].shape;
    }
    return DESCRIPTOR.cells[param].rank;
}

size_t model_param_bytes(size_t param)
{
    return param < MODEL_PARAM_COUNT ? DESCRIPTOR.cells[param].bytes : 0;
}

static int check_param(const model_t *model, size_t param, const void *values, size_t bytes)
{
    if (model == NULL || model->storage == NULL || values == NULL) {
        return MODEL_ERROR_NULL;
    }
    if (param >= MODEL_PARAM_COUNT) {
        return MODEL_ERROR_PARAM;
    }
    return bytes == DESCRIPTOR.cells[param].bytes ? MODEL_OK : MODEL_ERROR_SIZE;
}

int model_param_get(const model_t *model, size_t param, void *values, size_t bytes)
{
    int error = check_param(model, param, values, bytes);
    struct copy copy;
    if (error == MODEL_OK && !given(model)[param]) {
        error = MODEL_ERROR_NO_VALUE;
    }
    if (error == MODEL_OK) {
        copy.to = (unsigned char *)values;
        copy.from = cell_data(model, &DESCRIPTOR.cells[param]);
        each_run(&DESCRIPTOR.cells[param], unpack_run, &copy);
    }
    return error;
}

int model_param_set(model_t *model, size_t param, const void *values, size_t bytes)
{
    const int error = check_param(model, param, values, bytes);
    if (error != MODEL_OK) {
        return error;
    }
    if (!valid(&DESCRIPTOR.cells[param], (const unsigned char *)values)) {
        return MODEL_ERROR_VALUE;
    }
    pack(model, &DESCRIPTOR.cells[param], values);
    return MODEL_OK;
}

size_t model_fault(const model_t *model)
{
    return model == NULL || model->storage == NULL ? MODEL_PARAM_COUNT : model->fault;
}
