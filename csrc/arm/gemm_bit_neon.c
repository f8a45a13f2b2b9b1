/* Matrix product of bit rows with NEON. */
#if defined(__aarch64__)
#include "bit_tile_neon.h"

#define BNN_GEMM_BIT bnn_gemm_bit_neon
#include "../gemm_bit.inc"
#endif
