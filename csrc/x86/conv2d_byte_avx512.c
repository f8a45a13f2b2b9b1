/* Convolution of bytes with AVX-512 VNNI. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw")
#include "byte_tile_avx512.h"

#define BNN_CONV2D_BYTE bnn_conv2d_byte_avx512
#include "../conv2d_byte.inc"
#endif
