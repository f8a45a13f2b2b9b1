/* Matrix product of bit rows with AVX-512 VPOPCNTDQ. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,prfchw,tune=haswell")
/* With the tuning above: addresses never pass through vector registers, behind the counting. */
#pragma GCC optimize("no-tree-slp-vectorize")
#include "bit_tile_avx512.h"

#define KERNEL(op) bnn_##op##_avx512
#include "../gemm_bit.inc"
#endif
