/* Ceiling of the portable bit kernels: see bnn_raw_rate_fn. */
#include "../internal.h"

#define VECTOR uint64_t
#define LANES 1
#define SUMS 8
#define BROADCAST(word) ((uint64_t)(word))
#define COUNT(sum, value, weight) ((sum) + (uint64_t)__builtin_popcountll((value) ^ (weight)))
#define KEEP(value) "+r"(value)
#include "../raw_rate.inc"

int bnn_raw_rate_ref(double seconds, double *macs_per_s) { return raw_rate(seconds, macs_per_s); }
