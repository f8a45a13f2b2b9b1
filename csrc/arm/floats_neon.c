/* Products of floats in double with NEON. */
#if defined(__aarch64__)
#define VECTOR_BYTES 16
#define KERNEL(op) bnn_##op##_neon
typedef double lane;
#include "../floats.inc"
#endif
