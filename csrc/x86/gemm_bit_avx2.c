/* Matrix product of bit rows with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "bit_tile_avx2.h"

#define KERNEL(op) bnn_##op##_avx2
#include "../gemm_bit.inc"
#endif
