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
static inline int __float_as_int(float x) { return bk_host_bits<int>(x); }
static inline float __int_as_float(int x) { return bk_host_bits<float>(x); }
