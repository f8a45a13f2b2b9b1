/* Ceiling of the AVX-512 bit kernels: see bnn_raw_rate_fn. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")
#include <immintrin.h>

#include "../internal.h"

#define VECTOR __m512i
#define LANES 8
#define SUMS 12
#define BROADCAST(word) _mm512_set1_epi64(word)
#define COUNT(sum, value, weight)                                                                  \
    _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_xor_si512(value, weight)))
#define KEEP(value) "+v"(value)
#include "../raw_rate.inc"

int bnn_raw_rate_avx512(double seconds, double *macs_per_s) {
    return raw_rate(seconds, macs_per_s);
}

#endif
