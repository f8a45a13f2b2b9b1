/* Matrix product of bit rows with NEON. */
#if defined(__aarch64__)
#include "bit_tile_neon.h"

#define KERNEL(op) bnn_##op##_neon
#include "../gemm_bit.inc"
#endif
