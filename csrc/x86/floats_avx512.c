/* Products of floats in double with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#define VECTOR_BYTES 64
#define KERNEL(op) bnn_##op##_avx512
typedef double lane;
#include "../floats.inc"
#endif
