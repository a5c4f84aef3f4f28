/* ---- Kernels ------------------------------------------------------------------------------------------------------
 *
 * This target has no compiled kernels: products of matrices are loops of the generated code, and elementwise functions
 * are those of the C library. */

#include <math.h>

#define STRIP(name, expression)                                                                                       \
    static void strip_##name(float *to, const float *from, size_t n)                                                  \
    {                                                                                                                 \
        size_t i;                                                                                                     \
        for (i = 0; i < n; i++) {                                                                                     \
            const float x = from[i];                                                                                  \
            to[i] = expression;                                                                                       \
        }                                                                                                             \
    }

STRIP(exp, expf(x))
STRIP(expm1, expm1f(x))
STRIP(log, logf(x))
STRIP(log1p, log1pf(x))
STRIP(tanh, tanhf(x))
STRIP(sigmoid, 1.0f / (1.0f + expf(-x)))
STRIP(erf, erff(x))
STRIP(sin, sinf(x))
STRIP(cos, cosf(x))

static void strip_pow(float *to, const float *x, const float *y, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        to[i] = powf(x[i], y[i]);
    }
}
