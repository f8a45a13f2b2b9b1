/* Matrix product of bit rows with AVX-512 VPOPCNTDQ. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,prfchw")
#include "bit_tile_avx512.h"

#define BNN_GEMM_BIT bnn_gemm_bit_avx512
#include "../gemm_bit.inc"
#endif
