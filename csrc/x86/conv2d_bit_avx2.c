/* Convolution of bit images with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "bit_tile_avx2.h"

#define BNN_CONV2D_BIT bnn_conv2d_bit_avx2
#include "../conv2d_bit.inc"
#endif
