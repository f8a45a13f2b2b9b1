/* float32 x bit weights with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#define VECTOR_BYTES 32
#define KERNEL(op) bnn_##op##_avx2
#include "../float_bit.inc"
#endif
