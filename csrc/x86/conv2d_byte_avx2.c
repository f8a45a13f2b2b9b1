/* Convolution of bytes with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "byte_tile_avx2.h"

#define BNN_CONV2D_BYTE bnn_conv2d_byte_avx2
#include "../conv2d_byte.inc"
#endif
