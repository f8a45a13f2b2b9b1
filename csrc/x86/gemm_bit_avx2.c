/* Matrix product of bit rows with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "bit_tile_avx2.h"

#define BNN_GEMM_BIT bnn_gemm_bit_avx2
#include "../gemm_bit.inc"
#endif
