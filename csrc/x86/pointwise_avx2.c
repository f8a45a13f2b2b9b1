/* Element by element, and windows over floats, with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#define KERNEL(op) bnn_##op##_avx2
#include "../float_pools.inc"
#include "../pointwise.inc"
#endif
