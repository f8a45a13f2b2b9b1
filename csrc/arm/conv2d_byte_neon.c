/* Convolution of bytes with NEON's dot product. */
#if defined(__aarch64__)
#pragma GCC target("arch=armv8.2-a+dotprod")
#include "byte_tile_neon.h"

#define BNN_CONV2D_BYTE bnn_conv2d_byte_neon
#include "../conv2d_byte.inc"
#endif
