/* Matrix product of bytes with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "byte_tile_avx2.h"

#define BNN_GEMM_BYTE bnn_gemm_byte_avx2
#include "../gemm_byte.inc"
#endif
