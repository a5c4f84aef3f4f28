/* ---- Reading the header: JSON of one known form ---- */

struct text {
    const unsigned char *at, *end;
};

/* A string: where its inside begins, and a hash of what it says. */
struct string {
    struct text inside;
    uint64_t hash;
};

#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint64_t hash_byte(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static uint64_t hash_text(const char *text)
{
    uint64_t hash = HASH_START;
    for (; *text != '\0'; text++) {
        hash = hash_byte(hash, (unsigned char)*text);
    }
    return hash;
}

static void skip_space(struct text *text)
{
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\n' || *text->at == '\r' || *text->at == '\t')) {
        text->at++;
    }
}

/* Consumes a punctuation mark and the white space before it. */
static int take(struct text *text, char mark)
{
    skip_space(text);
    if (text->at == text->end || *text->at != (unsigned char)mark) {
        return 0;
    }
    text->at++;
    return 1;
}

/* Four hexadecimal digits; -1 where there are none. */
static long take_hex(struct text *text)
{
    long value = 0;
    int i;
    for (i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit;
        if (text->at == text->end || *text->at == '\0' || (digit = strchr(digits, *text->at)) == NULL) {
            return -1;
        }
        value = value * 16 + (digit - digits) % 16;
        text->at++;
    }
    return value;
}

/* The next character of a string as UTF-8, or as one of its bytes. Returns the number of bytes, 0 at the closing
 * quote, -1 where the string is damaged. */
static int take_character(struct text *text, unsigned char out[4])
{
    static const char letters[] = "bfnrt\"\\/", plain[] = "\b\f\n\r\t\"\\/";
    const char *letter;
    long code, low;
    if (text->at == text->end || *text->at < 0x20) {
        return -1;
    }
    out[0] = *text->at++;
    if (out[0] == '"') {
        return 0;
    }
    if (out[0] != '\\') {
        return 1;
    }
    if (text->at == text->end || *text->at == '\0') {
        return -1;
    }
    letter = strchr(letters, *text->at);
    if (letter != NULL) {
        text->at++;
        out[0] = (unsigned char)plain[letter - letters];
        return 1;
    }
    if (*text->at++ != 'u' || (code = take_hex(text)) < 0 || (code >= 0xdc00 && code < 0xe000)) {
        return -1;
    }
    if (code >= 0xd800 && code < 0xdc00) {
        if (text->end - text->at < 2 || text->at[0] != '\\' || text->at[1] != 'u') {
            return -1;
        }
        text->at += 2;
        low = take_hex(text);
        if (low < 0xdc00 || low > 0xdfff) {
            return -1;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xe0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (code & 0x3f));
    return 4;
}

static int take_string(struct text *text, struct string *string)
{
    unsigned char bytes[4];
    int n, i;
    if (!take(text, '"')) {
        return 0;
    }
    string->inside = *text;
    string->hash = HASH_START;
    while ((n = take_character(text, bytes)) > 0) {
        for (i = 0; i < n; i++) {
            string->hash = hash_byte(string->hash, bytes[i]);
        }
    }
    return n == 0;
}

/* Whether a string that was read says this. */
static int says(const struct string *string, const char *expected)
{
    struct text inside = string->inside;
    unsigned char bytes[4];
    int n, i;
    while ((n = take_character(&inside, bytes)) > 0) {
        for (i = 0; i < n; i++) {
            if (*expected == '\0' || (unsigned char)*expected++ != bytes[i]) {
                return 0;
            }
        }
    }
    return *expected == '\0';
}

static int take_number(struct text *text, uint64_t *number)
{
    const unsigned char *start;
    skip_space(text);
    start = text->at;
    *number = 0;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) {
        const unsigned digit = *text->at - '0';
        if (*number > (UINT64_MAX - digit) / 10) {
            return 0;
        }
        *number = *number * 10 + digit;
    }
    return text->at > start && (*start != '0' || text->at == start + 1);
}

/* What a file says about a tensor. */
struct tensor {
    struct string dtype;
    uint64_t start, end;
    uint64_t elements;
    /* Whether the shape is the cell's. */
    int fits;
};

/* Consumes the description of a tensor; `cell` may be null. */
static int take_tensor(struct text *text, const bakelite_cell *cell, struct tensor *tensor)
{
    unsigned seen = 0;
    if (!take(text, '{')) {
        return 0;
    }
    do {
        struct string key;
        if (!take_string(text, &key) || !take(text, ':')) {
            return 0;
        }
        if (says(&key, "dtype") && !(seen & 1)) {
            seen |= 1;
            if (!take_string(text, &tensor->dtype)) {
                return 0;
            }
        } else if (says(&key, "shape") && !(seen & 2)) {
            size_t rank = 0;
            seen |= 2;
            tensor->elements = 1;
            tensor->fits = 1;
            if (!take(text, '[')) {
                return 0;
            }
            if (!take(text, ']')) {
                do {
                    uint64_t extent;
                    if (!take_number(text, &extent) || (extent != 0 && tensor->elements > UINT64_MAX / 16 / extent)) {
                        return 0;
                    }
                    tensor->elements *= extent;
                    tensor->fits = tensor->fits && cell != NULL && rank < cell->rank && cell->shape[rank] == extent;
                    rank++;
                } while (take(text, ','));
                if (!take(text, ']')) {
                    return 0;
                }
            }
            tensor->fits = tensor->fits && cell != NULL && rank == cell->rank;
        } else if (says(&key, "data_offsets") && !(seen & 4)) {
            seen |= 4;
            if (!take(text, '[') || !take_number(text, &tensor->start) || !take(text, ',') ||
                !take_number(text, &tensor->end) || !take(text, ']')) {
                return 0;
            }
        } else {
            return 0;
        }
    } while (take(text, ','));
    return seen == 7 && take(text, '}');
}

/* Consumes the metadata and remembers the list of training cells. */
static int take_metadata(struct text *text, struct string *training)
{
    struct string key, value;
    if (!take(text, '{')) {
        return 0;
    }
    if (take(text, '}')) {
        return 1;
    }
    do {
        if (!take_string(text, &key) || !take(text, ':') || !take_string(text, &value)) {
            return 0;
        }
        if (says(&key, TRAINING_KEY)) {
            *training = value;
        }
    } while (take(text, ','));
    return take(text, '}');
}

/* Bytes of an element of a file's type; 0 for a type that safetensors does not have. */
static unsigned file_dtype_bytes(const struct string *dtype)
{
    static const struct {
        const char *name;
        unsigned bytes;
    } known[] = {{"F32", 4}, {"F64", 8}, {"I32", 4}, {"U32", 4}, {"U8", 1},  {"BOOL", 1},    {"I8", 1},
                 {"I16", 2}, {"U16", 2}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U64", 8}};
    size_t i;
    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (says(dtype, known[i].name)) {
            return known[i].bytes;
        }
    }
    return 0;
}

/* ---- Loading ---- */

/* Where a cell lies in a file. */
struct place {
    uint64_t name; /* its hash */
    uint64_t start;
    int found;
};

struct reader {
    int file;
    struct text header;
    /* Where tensors begin in the file, and their bytes. */
    uint64_t data, data_bytes;
    struct place *places;
    struct string training;
    /* Hashes of the lines of `training`, sorted; read when a tensor is not the model's. */
    uint64_t *names;
    size_t name_count;
};

static int compare_hashes(const void *x, const void *y)
{
    const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

static int read_names(struct reader *reader)
{
    struct text inside = reader->training.inside;
    uint64_t hash = HASH_START;
    unsigned char bytes[4];
    int n, i;
    if (reader->names != NULL) {
        return MODEL_OK;
    }
    reader->names = (uint64_t *)malloc(((size_t)(reader->header.end - reader->header.at) + 1) * sizeof(uint64_t));
    if (reader->names == NULL) {
        return MODEL_ERROR_MEMORY;
    }
    if (inside.at == NULL) {
        return MODEL_OK;
    }
    do {
        n = take_character(&inside, bytes);
        if (n <= 0 || bytes[0] == '\n') {
            reader->names[reader->name_count++] = hash;
            hash = HASH_START;
            continue;
        }
        for (i = 0; i < n; i++) {
            hash = hash_byte(hash, bytes[i]);
        }
    } while (n > 0);
    qsort(reader->names, reader->name_count, sizeof(uint64_t), compare_hashes);
    return MODEL_OK;
}

static size_t find_cell(const struct reader *reader, const struct string *name)
{
    size_t index = 0;
    while (index < MODEL_PARAM_COUNT && (reader->places[index].name != name->hash || !says(name, cell_names[index]))) {
        index++;
    }
    return index;
}

/* Notes where a cell lies, or says why the tensor is not it. */
static int place_cell(struct reader *reader, size_t index, const struct tensor *tensor)
{
    const bakelite_cell *cell = &DESCRIPTOR.cells[index];
    if (reader->places[index].found) {
        return MODEL_ERROR_FILE;
    }
    if (!says(&tensor->dtype, file_dtypes[cell->dtype])) {
        return MODEL_ERROR_DTYPE;
    }
    if (!tensor->fits) {
        return MODEL_ERROR_SHAPE;
    }
    reader->places[index].found = 1;
    reader->places[index].start = tensor->start;
    return MODEL_OK;
}

/* Reads the header: the cells' places and the metadata, or with `strangers` the tensors that no cell has, all of which
 * the metadata has to list. */
static int read_header(struct reader *reader, int strangers, size_t *fault)
{
    struct text text = reader->header;
    uint64_t total = 0;
    int error = MODEL_OK;
    if (!take(&text, '{')) {
        return MODEL_ERROR_FILE;
    }
    if (!take(&text, '}')) {
        do {
            struct string name;
            struct tensor tensor;
            size_t index;
            if (!take_string(&text, &name) || !take(&text, ':')) {
                return MODEL_ERROR_FILE;
            }
            if (says(&name, "__metadata__")) {
                if (!take_metadata(&text, &reader->training)) {
                    return MODEL_ERROR_FILE;
                }
                continue;
            }
            index = find_cell(reader, &name);
            if (!take_tensor(&text, index < MODEL_PARAM_COUNT ? &DESCRIPTOR.cells[index] : NULL, &tensor)) {
                return MODEL_ERROR_FILE;
            }
            if (tensor.start > tensor.end || tensor.end > reader->data_bytes ||
                tensor.end - tensor.start != tensor.elements * file_dtype_bytes(&tensor.dtype)) {
                return MODEL_ERROR_FILE;
            }
            total += tensor.end - tensor.start;
            if (strangers && index == MODEL_PARAM_COUNT) {
                error = read_names(reader);
                if (error == MODEL_OK && bsearch(&name.hash, reader->names, reader->name_count, sizeof(uint64_t),
                                                 compare_hashes) == NULL) {
                    error = MODEL_ERROR_UNKNOWN;
                }
            } else if (!strangers && index < MODEL_PARAM_COUNT) {
                error = place_cell(reader, index, &tensor);
                *fault = error == MODEL_OK ? *fault : index;
            }
            if (error != MODEL_OK) {
                return error;
            }
        } while (take(&text, ','));
        if (!take(&text, '}')) {
            return MODEL_ERROR_FILE;
        }
    }
    skip_space(&text);
    return text.at == text.end && total == reader->data_bytes ? MODEL_OK : MODEL_ERROR_FILE;
}

/* Reads all of a range of the file. */
static int read_at(int file, uint64_t at, void *to, size_t n)
{
    unsigned char *into = (unsigned char *)to;
    while (n > 0) {
        const ssize_t part = pread(file, into, n, (off_t)at);
        if (part == 0) {
            return MODEL_ERROR_FILE;
        }
        if (part > 0) {
            into += part;
            at += (uint64_t)part;
            n -= (size_t)part;
        } else if (errno != EINTR) {
            return MODEL_ERROR_IO;
        }
    }
    return MODEL_OK;
}

/* Reads every wanted cell into `staging`, at its offset in the storage. */
static int read_cells(struct reader *reader, unsigned char *staging, size_t *fault)
{
    size_t index;
    int error, training = 0;
    for (index = 0; index < MODEL_PARAM_COUNT; index++) {
        training |= reader->places[index].found && DESCRIPTOR.cells[index].kind == KIND_TRAINING;
    }
    for (index = 0; index < MODEL_PARAM_COUNT; index++) {
        const bakelite_cell *cell = &DESCRIPTOR.cells[index];
        if (cell->kind == KIND_TRAINING && !training) {
            continue;
        }
        *fault = index;
        if (!reader->places[index].found) {
            return MODEL_ERROR_MISSING;
        }
        error = read_at(reader->file, reader->data + reader->places[index].start, staging + cell->offset, cell->bytes);
        if (error != MODEL_OK) {
            return error;
        }
        if (!valid(cell, staging + cell->offset)) {
            return MODEL_ERROR_VALUE;
        }
    }
    *fault = MODEL_PARAM_COUNT;
    for (index = 0; index < MODEL_PARAM_COUNT; index++) {
        reader->places[index].found &= DESCRIPTOR.cells[index].kind != KIND_TRAINING || training;
    }
    return MODEL_OK;
}

static int load_from(model_t *model, struct reader *reader)
{
    unsigned char word[8];
    uint64_t length, header = 0;
    size_t index, extra, staging_bytes;
    unsigned char *staging;
    struct stat status;
    int error;
    if (fstat(reader->file, &status) != 0) {
        return MODEL_ERROR_IO;
    }
    length = (uint64_t)status.st_size;
    if (!S_ISREG(status.st_mode) || length < sizeof word) {
        return MODEL_ERROR_FILE;
    }
    error = read_at(reader->file, 0, word, sizeof word);
    if (error != MODEL_OK) {
        return error;
    }
    for (index = sizeof word; index-- > 0;) {
        header = header << 8 | word[index];
    }
    /* Generous for names, types, shapes and foreign metadata, and still bounded by the model. */
    if (header > ((uint64_t)1 << 20) + (uint64_t)4096 * MODEL_PARAM_COUNT || header > length - sizeof word) {
        return MODEL_ERROR_FILE;
    }
    reader->data = sizeof word + header;
    reader->data_bytes = length - reader->data;
    staging_bytes = DESCRIPTOR.storage_bytes;
    extra = (MODEL_PARAM_COUNT + 1) * sizeof(struct place);
    if (staging_bytes > SIZE_MAX - extra - (size_t)header) {
        return MODEL_ERROR_MEMORY;
    }
    /* Places first: they are what needs alignment. */
    reader->places = (struct place *)malloc(extra + staging_bytes + (size_t)header);
    if (reader->places == NULL) {
        return MODEL_ERROR_MEMORY;
    }
    staging = (unsigned char *)reader->places + extra;
    reader->header.at = staging + staging_bytes;
    reader->header.end = reader->header.at + header;
    for (index = 0; index < MODEL_PARAM_COUNT; index++) {
        reader->places[index].name = hash_text(cell_names[index]);
        reader->places[index].start = 0;
        reader->places[index].found = 0;
    }
    error = read_at(reader->file, sizeof word, staging + staging_bytes, (size_t)header);
    error = error != MODEL_OK ? error : read_header(reader, 0, &model->fault);
    error = error != MODEL_OK ? error : read_header(reader, 1, &model->fault);
    error = error != MODEL_OK ? error : read_cells(reader, staging, &model->fault);
    /* Everything is checked: from here on nothing fails. */
    for (index = 0; error == MODEL_OK && index < MODEL_PARAM_COUNT; index++) {
        if (reader->places[index].found) {
            pack(model, &DESCRIPTOR.cells[index], staging + DESCRIPTOR.cells[index].offset);
        }
    }
    return error;
}

int model_load(model_t *model, const char *path)
{
    struct reader reader;
    int error, saved_errno;
    if (model == NULL || model->storage == NULL || path == NULL) {
        return MODEL_ERROR_NULL;
    }
    model->fault = MODEL_PARAM_COUNT;
    memset(&reader, 0, sizeof reader);
    /* Opening a pipe for reading would wait for its writer. */
    reader.file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (reader.file < 0) {
        return MODEL_ERROR_IO;
    }
    error = load_from(model, &reader);
    saved_errno = errno;
    free(reader.names);
    free(reader.places);
    close(reader.file);
    errno = saved_errno;
    return error;
}
