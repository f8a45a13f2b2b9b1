/* Levels of sums with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#define KERNEL(op) bnn_##op##_avx2
#include "../multi_threshold.inc"
#endif
