/* Matrix product of bytes with AVX-512 VNNI. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw")
#include "byte_tile_avx512.h"

#define BNN_GEMM_BYTE bnn_gemm_byte_avx512
#include "../gemm_byte.inc"
#endif
