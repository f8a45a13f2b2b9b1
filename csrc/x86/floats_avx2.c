/* Products of floats in double with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#define VECTOR_BYTES 32
#define KERNEL(op) bnn_##op##_avx2
typedef double lane;
#include "../floats.inc"
#endif
