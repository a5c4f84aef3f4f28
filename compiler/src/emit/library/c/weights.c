/* ---- Weights in files ---------------------------------------------------------------------------------------------
 *
 * Safetensors, the same bytes as the Rust runtime writes: eight bytes with the length of a header in JSON, the header,
 * and the tensors, row-major. The names of what only training needs are listed in the header's metadata, so that a
 * model compiled for prediction alone can skip them. */

/* The metadata key that lists the names of training cells, one a line. */
#define TRAINING_KEY "bakelite.training"
#define PATH_BYTES 4096

static const char *const file_dtypes[] = {"F32", "F64", "I32", "U32", "U8", "BOOL"};

/* ---- Writing ---- */

struct writer {
    int file; /* -1: only count */
    int failed;
    uint64_t bytes;
    size_t used;
    unsigned char buffer[1 << 14];
};

static void writer_flush(struct writer *writer)
{
    size_t at = 0;
    while (writer->file >= 0 && !writer->failed && at < writer->used) {
        const ssize_t n = write(writer->file, writer->buffer + at, writer->used - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            writer->failed = 1;
        }
    }
    writer->used = 0;
}

static void put(struct writer *writer, const void *bytes, size_t n)
{
    const unsigned char *from = (const unsigned char *)bytes;
    writer->bytes += n;
    while (n > 0) {
        const size_t room = sizeof writer->buffer - writer->used;
        const size_t part = n < room ? n : room;
        memcpy(writer->buffer + writer->used, from, part);
        writer->used += part;
        from += part;
        n -= part;
        if (writer->used == sizeof writer->buffer) {
            writer_flush(writer);
        }
    }
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

static void put_number(struct writer *writer, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(writer, digits + at, sizeof digits - at);
}

/* The inside of a JSON string. */
static void put_escaped(struct writer *writer, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        static const char plain[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";
        const char *known = strchr(plain, c);
        if (known != NULL) {
            put_text(writer, "\\");
            put(writer, letter + (known - plain), 1);
        } else if (c < 0x20) {
            put_text(writer, "\\u00");
            put(writer, hex + c / 16, 1);
            put(writer, hex + c % 16, 1);
        } else {
            put(writer, text, 1);
        }
    }
}

struct order {
    size_t bytes; /* of an element */
    size_t next;
};

/* The cells that a file holds, in its order: the widest elements first, so that every tensor is aligned within the
 * file. Returns MODEL_PARAM_COUNT after the last one. */
static size_t next_cell(struct order *order, int contents)
{
    for (; order->bytes > 0; order->bytes /= 2, order->next = 0) {
        while (order->next < MODEL_PARAM_COUNT) {
            const size_t index = order->next++;
            const bakelite_cell *cell = &DESCRIPTOR.cells[index];
            if (dtype_bytes[cell->dtype] == order->bytes && (contents == MODEL_TRAINING || cell->kind != KIND_TRAINING)) {
                return index;
            }
        }
    }
    return MODEL_PARAM_COUNT;
}

static const struct order FIRST = {8, 0};

static void put_header(struct writer *writer, int contents)
{
    struct order order = FIRST;
    const char *separator = "{\"__metadata__\":{\"" TRAINING_KEY "\":\"";
    size_t index;
    uint64_t end = 0;
    while ((index = next_cell(&order, contents)) < MODEL_PARAM_COUNT) {
        if (DESCRIPTOR.cells[index].kind == KIND_TRAINING) {
            put_text(writer, separator);
            put_escaped(writer, cell_names[index]);
            separator = "\\n";
        }
    }
    separator = separator[0] == '{' ? "{" : "\"},";
    order = FIRST;
    while ((index = next_cell(&order, contents)) < MODEL_PARAM_COUNT) {
        const bakelite_cell *cell = &DESCRIPTOR.cells[index];
        size_t axis;
        put_text(writer, separator);
        put_text(writer, "\"");
        put_escaped(writer, cell_names[index]);
        put_text(writer, "\":{\"dtype\":\"");
        put_text(writer, file_dtypes[cell->dtype]);
        put_text(writer, "\",\"shape\":[");
        for (axis = 0; axis < cell->rank; axis++) {
            put_text(writer, axis == 0 ? "" : ",");
            put_number(writer, cell->shape[axis]);
        }
        put_text(writer, "],\"data_offsets\":[");
        put_number(writer, end);
        put_text(writer, ",");
        end += cell->bytes;
        put_number(writer, end);
        put_text(writer, "]}");
        separator = ",";
    }
    put_text(writer, separator[0] == '{' ? "{}" : "}");
    while (writer->bytes % 8 != 0) {
        put_text(writer, " ");
    }
}

struct source {
    struct writer *writer;
    const unsigned char *data;
};

static void put_run(void *context, size_t logical, size_t stored, size_t n)
{
    const struct source *source = (const struct source *)context;
    (void)logical;
    put(source->writer, source->data + stored, n);
}

static void put_file(struct writer *writer, const model_t *model, int contents)
{
    struct order order = FIRST;
    unsigned char length[8];
    size_t index;
    const int file = writer->file;
    writer->file = -1;
    put_header(writer, contents);
    for (index = 0; index < 8; index++) {
        length[index] = (unsigned char)(writer->bytes >> (8 * index));
    }
    writer->file = file;
    writer->used = 0;
    writer->bytes = 0;
    put(writer, length, sizeof length);
    put_header(writer, contents);
    while ((index = next_cell(&order, contents)) < MODEL_PARAM_COUNT) {
        struct source source;
        source.writer = writer;
        source.data = cell_data(model, &DESCRIPTOR.cells[index]);
        each_run(&DESCRIPTOR.cells[index], put_run, &source);
    }
    writer_flush(writer);
}

/* A new file beside `path`, under a name that no other writer uses. */
static int create_beside(const char *path, char temporary[PATH_BYTES])
{
    static size_t counter;
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    for (;;) {
        const size_t count = __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
        const int length = snprintf(temporary, PATH_BYTES, "%.*s.%s.%ld-%zu.tmp", (int)(name - path), path, name,
                                    (long)getpid(), count);
        int file;
        if (length < 0 || length >= PATH_BYTES) {
            errno = ENAMETOOLONG;
            return -1;
        }
        file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0 || errno != EEXIST) {
            return file;
        }
    }
}

/* Makes a new name durable. */
static int sync_directory(char temporary[PATH_BYTES])
{
    char *slash = strrchr(temporary, '/');
    int directory, failed;
    if (slash == NULL) {
        strcpy(temporary, ".");
    } else {
        slash[1] = '\0';
    }
    directory = open(temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        return -1;
    }
    failed = fsync(directory);
    close(directory);
    return failed;
}

int model_save(const model_t *model, const char *path, int contents)
{
    char temporary[PATH_BYTES];
    struct writer writer;
    struct order order = FIRST;
    size_t index;
    int saved_errno;
    if (model == NULL || model->storage == NULL || path == NULL) {
        return MODEL_ERROR_NULL;
    }
    while ((index = next_cell(&order, contents)) < MODEL_PARAM_COUNT) {
        if (!given(model)[index]) {
            return MODEL_ERROR_NO_VALUE;
        }
    }
    if (*path == '\0' || path[strlen(path) - 1] == '/') {
        errno = EINVAL;
        return MODEL_ERROR_IO;
    }
    writer.file = create_beside(path, temporary);
    writer.failed = 0;
    writer.bytes = 0;
    writer.used = 0;
    if (writer.file < 0) {
        return MODEL_ERROR_IO;
    }
    put_file(&writer, model, contents);
    writer.failed = writer.failed || fsync(writer.file) != 0;
    saved_errno = errno;
    if (close(writer.file) != 0 && !writer.failed) {
        writer.failed = 1;
        saved_errno = errno;
    }
    if (writer.failed || rename(temporary, path) != 0) {
        saved_errno = writer.failed ? saved_errno : errno;
        unlink(temporary);
        errno = saved_errno;
        return MODEL_ERROR_IO;
    }
    return sync_directory(temporary) == 0 ? MODEL_OK : MODEL_ERROR_IO;
}
