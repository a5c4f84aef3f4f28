#ifndef @guard@
#define @guard@

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Constants --------------------------------------------------------------------------------------------------- */

@constants@

/* Element types, as model_param_dtype gives them. A bool is one byte that is 0 or 1. */
enum model_dtype {
    MODEL_F32 = 0,  /* float */
    MODEL_F64 = 1,  /* double */
    MODEL_I32 = 2,  /* int32_t */
    MODEL_U32 = 3,  /* uint32_t */
    MODEL_U8 = 4,   /* uint8_t */
    MODEL_BOOL = 5  /* uint8_t */
};

/* What model_save writes. */
enum model_contents {
    MODEL_WEIGHTS = 0, /* parameters, and the state that predictions read */
    MODEL_TRAINING = 1 /* everything that training goes on from: also the optimizer's state */
};

/* What functions return. A call that fails leaves the parameters and state as they were. */
enum model_error {
@errors@
};

/* The text of an error code, in English, without a full stop. Never null. */
const char *model_error_text(int error);

/* ---- A model with its memory ------------------------------------------------------------------------------------- */

/* A handle. Its members are private; it may not be copied or moved while it is open. */
typedef struct model_t {
    void *storage;
    void *arena;
    void *scratch;
    const void *kernels;
    size_t level;
    size_t threads;
    size_t fault;
    int keeps_subnormals;
    int fixed_threads;
} model_t;

/* The library that was written with this header. One that was not differs in these names and does not link, because its
 * constants and arguments may be others. (For callers without a header, the functions have their plain names too.) */
#define model_open model_open_@hash@
#define model_share model_share_@hash@

/* Opens a model on the caller's memory, which stays the caller's and has to outlive the handle. Weights have no value
 * until model_init, model_load or model_param_set gives them one, and entry points that read one before that fail with
 * MODEL_ERROR_NO_VALUE. The state of the optimizer and of metrics, and moving statistics, begin with their first values:
 * a training can start from a file of weights.
 *   storage   MODEL_STORAGE_BYTES bytes: parameters, state, and which of them have a value
 *   arena     MODEL_ARENA_BYTES bytes: what a call computes with; undefined between calls
 *   scratch   MODEL_SCRATCH_BYTES(threads) bytes: also holds the threads
 *   threads   the most threads of a call, the calling one included, from 1 to MODEL_MAX_THREADS; others are started
 *             here and sleep between calls. A call has fewer where that is faster: see model_tune_threads. The number never
 *             changes a result.
 * Each block is aligned to MODEL_ALIGN bytes. The strongest instruction set that the processor has is chosen, or the
 * one that the environment variable BAKELITE_LEVEL names.
 * Returns MODEL_OK, MODEL_ERROR_NULL, _ALIGNMENT, _THREADS, _THREAD_START or _LEVEL. */
int model_open(model_t *model, void *storage, void *arena, void *scratch, size_t threads);

/* Opens another handle on the storage of an open one, with an arena and scratch of its own, so that several threads
 * can predict with the same parameters. The storage is not touched. `other` may be closed first.
 * Returns what model_open returns. */
int model_share(model_t *model, const model_t *other, void *arena, void *scratch, size_t threads);

/* Ends the handle's threads. The memory is the caller's again; parameters and state stay in the storage. Closing a
 * closed handle or null does nothing. */
void model_close(model_t *model);

/* Changes the most threads of a call.
 *   scratch   MODEL_SCRATCH_BYTES(threads) bytes, aligned to MODEL_ALIGN; the block of before if it is large enough
 * Returns MODEL_OK, MODEL_ERROR_NULL, _ALIGNMENT, _THREADS, or _THREAD_START, after which the model has one thread. */
int model_set_threads(model_t *model, void *scratch, size_t threads);

/* Whether calls that may be worth several threads, by the estimate of the compiler, are timed, so that the fastest number
 * of threads is found while the program runs, as it is from the start. A few calls in a thousand then have another number
 * to compare. Otherwise all calls of one entry point and batch have the same number, that of the estimate.
 * Returns MODEL_OK or MODEL_ERROR_NULL. */
int model_tune_threads(model_t *model, int tune);

/* Whether calls keep subnormal numbers, those nearer to zero than the smallest normal float (1.2e-38). Otherwise, as
 * from the start, arithmetic takes them for zero and gives zero in their place: processors take many times as long over
 * them. The rounding, the traps and the treatment of subnormal numbers that the calling thread has set up have no effect
 * on calls, and are the same again after them.
 * Returns MODEL_OK or MODEL_ERROR_NULL. */
int model_keep_subnormals(model_t *model, int keep);

/* The instruction set that the model runs at: @levels@. Empty for a handle that is not open. */
const char *model_level(const model_t *model);

/* ---- Entry points ------------------------------------------------------------------------------------------------ */

@entries@
/* ---- Parameters and state ---------------------------------------------------------------------------------------- */

@params@
/* The name of a parameter, such as "dense/kernel"; null for an index that none has. */
const char *model_param_name(size_t param);

/* The index of the parameter with a name; MODEL_PARAM_COUNT where there is none. */
size_t model_param_find(const char *name);

/* The element type, an enum model_dtype; -1 for an index that no parameter has. */
int model_param_dtype(size_t param);

/* The number of axes, and through `extents` (which may be null) the elements along each. 0 for an index that no
 * parameter has. */
size_t model_param_shape(size_t param, const size_t **extents);

/* Bytes of all elements; 0 for an index that no parameter has. */
size_t model_param_bytes(size_t param);

/* Copies the elements of a parameter out, row-major.
 *   values   `bytes` bytes, which have to be model_param_bytes(param)
 * Returns MODEL_OK, MODEL_ERROR_NULL, _PARAM, _SIZE or _NO_VALUE. */
int model_param_get(const model_t *model, size_t param, void *values, size_t bytes);

/* Overwrites a parameter; the same arguments. Returns MODEL_OK, MODEL_ERROR_NULL, _PARAM, _SIZE or _VALUE. */
int model_param_set(model_t *model, size_t param, const void *values, size_t bytes);

/* Writes a safetensors file. It appears whole under its name, on the disk, or not at all: a file that was there is
 * replaced in one step or left as it was.
 *   path       UTF-8 as the system takes it; the directory has to exist
 *   contents   an enum model_contents
 * Returns MODEL_OK, MODEL_ERROR_NULL, _NO_VALUE, or _IO, with the reason in errno. */
int model_save(const model_t *model, const char *path, int contents);

/* Reads what model_save or Bakelite's Rust runtime wrote. The file has to hold every parameter and every state that
 * predictions read, and nothing else but state of training, which is taken where the file has it and kept as it is where
 * not. Every name, type,
 * shape and byte is checked before the model changes. This is the only function that allocates: MODEL_STORAGE_BYTES
 * and the size of the file's header, freed before it returns.
 * Returns MODEL_OK, MODEL_ERROR_NULL, _IO (the reason is in errno), _MEMORY, _FILE, _MISSING, _UNKNOWN, _DTYPE,
 * _SHAPE or _VALUE; model_fault says at which parameter. */
int model_load(model_t *model, const char *path);

/* The parameter that the last model_load, or the last entry point with MODEL_ERROR_NO_VALUE, failed at;
 * MODEL_PARAM_COUNT where it was none. */
size_t model_fault(const model_t *model);

#ifdef __cplusplus
}
#endif

#endif /* @guard@ */
