/* Products of floats in single precision with NEON. */
#if defined(__aarch64__)
#define VECTOR_BYTES 16
#define KERNEL(op) bnn_##op##_single_neon
typedef float lane;
#include "../floats.inc"
#endif
