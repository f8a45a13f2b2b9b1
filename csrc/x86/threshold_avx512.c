/* Integer thresholds with AVX-512; the meaning is ref/threshold.c. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include <immintrin.h>

#include "../internal.h"

#define LANES 16 /* channels per register */

/* The lanes that exist of the 16 channels from c on. */
static inline __mmask16 lanes_from(int64_t c, int64_t C) {
    return C - c >= LANES ? 0xffff : (__mmask16)((1u << (C - c)) - 1);
}

/* The channels of direction +1 among 16. */
static inline __mmask16 upward(const int8_t *direction, __mmask16 lanes) {
    return (__mmask16)~_mm_movepi8_mask(_mm_maskz_loadu_epi8(lanes, direction));
}

static inline __mmask16 meets(__m512i acc, __m512i t, __mmask16 up) {
    const __mmask16 at_least = _mm512_cmpge_epi32_mask(acc, t);
    const __mmask16 at_most = _mm512_cmple_epi32_mask(acc, t);
    return (__mmask16)((at_least & up) | (at_most & ~up));
}

int bnn_threshold_pack_avx512(const int32_t *acc, const int32_t *t, const int8_t *direction,
                              int64_t P, int64_t C, uint64_t *out) {
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_directions(direction, C));
    for (int64_t p = 0; p < P; p++) {
        for (int64_t word = 0; word < bnn_words(C); word++) {
            uint64_t bits = 0;
            for (int64_t c = word * 64; c < bnn_min(word * 64 + 64, C); c += LANES) {
                const __mmask16 lanes = lanes_from(c, C);
                const __m512i sums = _mm512_maskz_loadu_epi32(lanes, acc + p * C + c);
                const __m512i limits = _mm512_maskz_loadu_epi32(lanes, t + c);
                const __mmask16 met = meets(sums, limits, upward(direction + c, lanes)) & lanes;
                bits |= (uint64_t)met << (c % 64);
            }
            out[p * bnn_words(C) + word] = bits;
        }
    }
    return BNN_OK;
}

#endif
