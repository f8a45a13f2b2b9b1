/* Bytes x bit weights with NEON. */
#if defined(__aarch64__)
#define VECTOR_BYTES 16
#define KERNEL(op) bnn_##op##_neon
#include "../byte_bit.inc"
#endif
