/* Convolution of bit images with AVX-512 VPOPCNTDQ. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,prfchw")
#include "bit_tile_avx512.h"

#define BNN_CONV2D_BIT bnn_conv2d_bit_avx512
#include "../conv2d_bit.inc"
#endif
