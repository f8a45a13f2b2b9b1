/* Convolution of bit images with NEON. */
#if defined(__aarch64__)
#include "bit_tile_neon.h"

#define BNN_CONV2D_BIT bnn_conv2d_bit_neon
#include "../conv2d_bit.inc"
#endif
