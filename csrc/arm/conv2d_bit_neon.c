/* Convolution of bit images with NEON. */
#if defined(__aarch64__)
#include "bit_tile_neon.h"

#define KERNEL(op) bnn_##op##_neon
#include "../conv2d_bit.inc"
#endif
