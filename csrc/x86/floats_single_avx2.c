/* Products of floats in single precision with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#define VECTOR_BYTES 32
#define KERNEL(op) bnn_##op##_single_avx2
typedef float lane;
#include "../floats.inc"
#endif
