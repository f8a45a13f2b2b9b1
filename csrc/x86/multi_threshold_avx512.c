/* Levels of sums with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#define KERNEL(op) bnn_##op##_avx512
#include "../multi_threshold.inc"
#endif
