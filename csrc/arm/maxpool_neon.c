/* Largest values of windows with NEON. */
#if defined(__aarch64__)
#define KERNEL(op) bnn_##op##_neon
#include "../maxpool.inc"
#endif
