/* Ceiling of the AVX2 bit kernels: see bnn_raw_rate_fn. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "bit_tile_avx2.h"

#define VECTOR __m256i
#define LANES 4
#define SUMS 4
#define BROADCAST(word) _mm256_set1_epi64x(word)
#define COUNT(sum, value, weight)                                                                  \
    _mm256_add_epi8(sum, count_bytes(_mm256_xor_si256(value, weight)))
#define KEEP(value) "+x"(value)
#include "../raw_rate.inc"

int bnn_raw_rate_avx2(double seconds, double *macs_per_s) { return raw_rate(seconds, macs_per_s); }

#endif
