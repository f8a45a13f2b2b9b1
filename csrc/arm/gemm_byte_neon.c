/* Matrix product of bytes with NEON's dot product. */
#if defined(__aarch64__)
#pragma GCC target("arch=armv8.2-a+dotprod")
#include "byte_tile_neon.h"

#define BNN_GEMM_BYTE bnn_gemm_byte_neon
#include "../gemm_byte.inc"
#endif
