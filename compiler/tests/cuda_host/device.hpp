// The part of CUDA C++ that the generator emits, as plain C++ for the host.
//
// Kernels become ordinary functions that read `threadIdx` and its companions from globals, which the scheduler of
// blocks.hpp sets before it lets a thread run. Shared memory is one global block: blocks run one after another.
#pragma once

#include <math.h>
#include <string.h>

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;

constexpr unsigned long bk_shared_capacity = 48 << 10;
alignas(16) unsigned char bk_shared[bk_shared_capacity];

namespace host {
inline void barrier(int line);
}
#define __syncthreads() host::barrier(__LINE__)

template <class To, class From> static inline To bk_host_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
// CUDA's inverse of the error function: a first guess (Winitzki), and Newton's steps.
static inline double erfinv(double x) {
    if (!(fabs(x) < 1)) return fabs(x) == 1 ? x * (double)INFINITY : (double)NAN;
    double l = log(1 - x * x), b = 2 / (M_PI * 0.147) + l / 2;
    double y = copysign(sqrt(fmax(sqrt(b * b - l / 0.147) - b, 0)), x);
    for (int step = 0; step < 4; step++) y -= (erf(y) - x) / (2 / sqrt(M_PI) * exp(-y * y));
    return y;
}
static inline float erfinv(float x) { return (float)erfinv((double)x); }

static inline int __float_as_int(float x) { return bk_host_bits<int>(x); }
static inline float __int_as_float(int x) { return bk_host_bits<float>(x); }
