/* Products of floats in single precision with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#define VECTOR_BYTES 64
#define KERNEL(op) bnn_##op##_single_avx512
typedef float lane;
#include "../floats.inc"
#endif
