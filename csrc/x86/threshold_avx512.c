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

int bnn_multi_threshold_avx512(const int32_t *acc, const int32_t *t, const int8_t *direction,
                               int64_t P, int64_t C, int64_t n, int base, int8_t *out) {
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_size(C, n, 1, 1));
    BNN_TRY(bnn_check_directions(direction, C));
    if (C > INT32_MAX / LANES || n > INT32_MAX / LANES) return BNN_ERR_SIZE;
    if (base < INT8_MIN || base + n > INT8_MAX) return BNN_ERR_OVERFLOW;
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i column = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int32_t)n));
    for (int64_t c = 0; c < C; c += LANES) {
        const __mmask16 lanes = lanes_from(c, C), up = upward(direction + c, lanes);
        for (int64_t p = 0; p < P; p++) {
            const __m512i sums = _mm512_maskz_loadu_epi32(lanes, acc + p * C + c);
            __m512i level = _mm512_set1_epi32(base);
            for (int64_t i = 0; i < n; i++) {
                const __m512i limits =
                    _mm512_mask_i32gather_epi32(one, lanes, column, t + c * n + i, 4);
                level = _mm512_mask_add_epi32(level, meets(sums, limits, up), level, one);
            }
            _mm_mask_storeu_epi8(out + p * C + c, lanes, _mm512_cvtepi32_epi8(level));
        }
    }
    return BNN_OK;
}

#endif
