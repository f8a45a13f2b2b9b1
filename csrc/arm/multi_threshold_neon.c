/* Levels of sums with NEON. */
#if defined(__aarch64__)
#define KERNEL(op) bnn_##op##_neon
#include "../multi_threshold.inc"
#endif
