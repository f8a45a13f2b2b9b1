/* Ceiling of the NEON bit kernels: see bnn_raw_rate_fn. */
#if defined(__aarch64__)
#include "bit_tile_neon.h"

#define VECTOR uint8x16_t
#define LANES 2
#define SUMS 12
#define BROADCAST(word) vreinterpretq_u8_u64(vdupq_n_u64((uint64_t)(word)))
#define COUNT(sum, value, weight) count_bytes(sum, value, weight)
#define KEEP(value) "+w"(value)
#include "../raw_rate.inc"

int bnn_raw_rate_neon(double seconds, double *macs_per_s) { return raw_rate(seconds, macs_per_s); }

#endif
