/* float32 x bit weights with NEON. */
#if defined(__aarch64__)
#define VECTOR_BYTES 16
#define KERNEL(op) bnn_##op##_neon
#include "../float_bit.inc"
#endif
