/* Element by element, and windows over floats, with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define KERNEL(op) bnn_##op##_avx512
#include "../float_pools.inc"
#include "../pointwise.inc"
#endif
