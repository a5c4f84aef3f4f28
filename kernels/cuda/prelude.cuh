// The device functions that generated kernels are written in.
//
// This text precedes the kernels of every module. It includes nothing, so a run-time compiler needs no include path,
// and it uses only what CUDA C++ declares by itself. Meanings are those of the compiler's scalar table: integer
// arithmetic wraps, division by zero gives 0 for integers, minima and maxima propagate NaN, and conversions from
// floating types saturate.

#define BK_FN __device__ __forceinline__
#define BK_INF __int_as_float(0x7f800000)
#define BK_NAN __int_as_float(0x7fc00000)
#define BK_I32_MIN (-2147483647 - 1)
#define BK_I32_MAX 2147483647
#define BK_U32_MAX 4294967295u

// All shared memory of a kernel is this one block; its size is a launch parameter.
extern __shared__ __align__(16) unsigned char bk_shared[];

// ---- arithmetic -----------------------------------------------------------------------------------------------

BK_FN float bk_abs(float x) { return fabsf(x); }
BK_FN double bk_abs(double x) { return fabs(x); }
BK_FN int bk_abs(int x) { return x < 0 ? (int)(0u - (unsigned)x) : x; }
BK_FN unsigned bk_abs(unsigned x) { return x; }

BK_FN float bk_div(float x, float y) { return x / y; }
BK_FN double bk_div(double x, double y) { return x / y; }
BK_FN int bk_div(int x, int y) { return y == 0 ? 0 : y == -1 ? (int)(0u - (unsigned)x) : x / y; }
BK_FN unsigned bk_div(unsigned x, unsigned y) { return y == 0 ? 0 : x / y; }

BK_FN float bk_rem(float x, float y) { return fmodf(x, y); }
BK_FN double bk_rem(double x, double y) { return fmod(x, y); }
BK_FN int bk_rem(int x, int y) { return y == 0 || y == -1 ? 0 : x % y; }
BK_FN unsigned bk_rem(unsigned x, unsigned y) { return y == 0 ? 0 : x % y; }

template <class T> BK_FN T bk_min(T x, T y) { return x != x || x < y ? x : y; }
template <class T> BK_FN T bk_max(T x, T y) { return x != x || x > y ? x : y; }
template <class T> BK_FN T bk_square(T x) { return x * x; }
template <class T> BK_FN T bk_sign(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x * 0; }
template <class T> BK_FN T bk_relu(T x) { return x < 0 ? T(0) : x; }

BK_FN float bk_softplus(float x) { return bk_relu(x) + log1pf(expf(-fabsf(x))); }
BK_FN double bk_softplus(double x) { return bk_relu(x) + log1p(exp(-fabs(x))); }

// ---- bits -----------------------------------------------------------------------------------------------------

BK_FN bool bk_not(bool x) { return !x; }
BK_FN int bk_not(int x) { return ~x; }
BK_FN unsigned bk_not(unsigned x) { return ~x; }

BK_FN unsigned bk_shl(unsigned x, unsigned y) { return y < 32 ? x << y : 0; }
BK_FN unsigned bk_shr(unsigned x, unsigned y) { return y < 32 ? x >> y : 0; }

template <class T> BK_FN bool bk_isnan(T x) { return x != x; }
BK_FN unsigned bk_to_bits(float x) { return (unsigned)__float_as_int(x); }
BK_FN float bk_from_bits(unsigned x) { return __int_as_float((int)x); }

// ---- conversions from floating types: towards zero, saturating, NaN to 0 --------------------------------------

template <class T> BK_FN int bk_to_i32(T x) {
    return x != x ? 0 : x <= T(-2147483648.0) ? BK_I32_MIN : x >= T(2147483648.0) ? BK_I32_MAX : (int)x;
}
template <class T> BK_FN unsigned bk_to_u32(T x) {
    return !(x > T(0)) ? 0u : x >= T(4294967296.0) ? BK_U32_MAX : (unsigned)x;
}
template <class T> BK_FN unsigned char bk_to_u8(T x) {
    return !(x > T(0)) ? (unsigned char)0 : x >= T(255) ? (unsigned char)255 : (unsigned char)(int)x;
}

// ---- indirect addressing --------------------------------------------------------------------------------------

// An index clamped into 0..extent.
BK_FN int bk_clamp(int index, int extent) { return index < 0 ? 0 : index < extent ? index : extent - 1; }
BK_FN int bk_clamp(unsigned index, int extent) { return index < (unsigned)extent ? (int)index : extent - 1; }

// Whether an index lies in 0..extent.
BK_FN bool bk_inside(int index, int extent) { return index >= 0 && index < extent; }
BK_FN bool bk_inside(unsigned index, int extent) { return index < (unsigned)extent; }

// ---- reduction within a block ---------------------------------------------------------------------------------

// Combines the values of all threads of the block, whose number is a power of two, in a fixed binary tree, and gives
// every thread the result. All memory accesses before the call are visible to the whole block after it.
template <class T, class F> BK_FN T bk_fold(T value, F combine) {
    T* const slots = reinterpret_cast<T*>(bk_shared);
    const unsigned lane = threadIdx.x;
    slots[lane] = value;
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) slots[lane] = combine(slots[lane], slots[lane + half]);
    }
    __syncthreads();
    value = slots[0];
    __syncthreads();
    return value;
}
