/* Stochastic sign with AVX-512: 16 blocks of Philox at a time; the meaning is ref/stochastic.c. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include <immintrin.h>

#include "../internal.h"

/* Blocks that a refill makes: at least 64 draws are left whatever draw of the first comes first. */
#define BLOCKS 32

/* Random words of blocks [start, start + BLOCKS), and which draws they hold. */
typedef struct buffer {
    uint32_t words[4 * BLOCKS];
    int64_t first, end;
} buffer;

static inline __m512i high_product(__m512i a, __m512i b) {
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(a, b), 32);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), b);
    return _mm512_mask_mov_epi32(even, 0xAAAA, odd);
}

/* 16 blocks; word w of block i goes to out[4 * i + w]. */
static void philox16(const bnn_draws *draws, uint64_t block, uint32_t *out) {
    const __m512i m0 = _mm512_set1_epi32((int)0xD2511F53), m1 = _mm512_set1_epi32((int)0xCD9E8D57);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i low = _mm512_set1_epi32((int)(uint32_t)block);
    __m512i c0 = _mm512_add_epi32(low, lane);
    const __mmask16 carry = _mm512_cmplt_epu32_mask(c0, low);
    __m512i c1 = _mm512_set1_epi32((int)(uint32_t)(block >> 32));
    c1 = _mm512_mask_add_epi32(c1, carry, c1, _mm512_set1_epi32(1));
    __m512i c2 = _mm512_set1_epi32((int)draws->node), c3 = _mm512_set1_epi32((int)draws->sample);
    uint32_t k0 = (uint32_t)draws->seed, k1 = (uint32_t)(draws->seed >> 32);
    for (int round = 0; round < 10; round++) {
        const __m512i high0 = high_product(c0, m0), low0 = _mm512_mullo_epi32(c0, m0);
        const __m512i high1 = high_product(c2, m1), low1 = _mm512_mullo_epi32(c2, m1);
        c0 = _mm512_xor_si512(_mm512_xor_si512(high1, c1), _mm512_set1_epi32((int)k0));
        c2 = _mm512_xor_si512(_mm512_xor_si512(high0, c3), _mm512_set1_epi32((int)k1));
        c1 = low1;
        c3 = low0;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    const __m512i at = _mm512_slli_epi32(lane, 2);
    _mm512_i32scatter_epi32(out, at, c0, 4);
    _mm512_i32scatter_epi32(out + 1, at, c1, 4);
    _mm512_i32scatter_epi32(out + 2, at, c2, 4);
    _mm512_i32scatter_epi32(out + 3, at, c3, 4);
}

static void refill(buffer *held, const bnn_draws *draws, int64_t e) {
    const int per_block = 128 / draws->bits;
    const int64_t start = e / per_block;
    for (int i = 0; i < BLOCKS; i += 16)
        philox16(draws, (uint64_t)(start + i), held->words + 4 * i);
    held->first = start * per_block;
    held->end = held->first + (int64_t)BLOCKS * per_block;
}

/* Draws e to e + 15 of those held; lanes outside `lanes` are 0. */
static inline __m512i draw16(const buffer *held, int bits, int64_t e, __mmask16 lanes) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at =
        _mm512_add_epi32(_mm512_set1_epi32((int)(e - held->first) * bits),
                         _mm512_mullo_epi32(lane, _mm512_set1_epi32(bits)));
    const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), lanes,
                                                      _mm512_srli_epi32(at, 5), held->words, 4);
    const __m512i shifted = _mm512_srlv_epi32(words, _mm512_and_si512(at, _mm512_set1_epi32(31)));
    return _mm512_and_si512(shifted, _mm512_set1_epi32((1 << bits) - 1));
}

/* How many of the 2^bits words give +1: no step is fused, so each is rounded as in ref. */
static inline __m512i probability16(__m512 x, int bits) {
    const __m512 one = _mm512_set1_ps(1.0f), half = _mm512_set1_ps(0.5f);
    __m512 sigmoid = _mm512_mul_ps(_mm512_add_ps(x, one), half); /* halving is exact */
    sigmoid = _mm512_min_ps(_mm512_max_ps(sigmoid, _mm512_setzero_ps()), one);
    const __m512 scaled = _mm512_mul_ps(sigmoid, _mm512_set1_ps((float)(1 << bits)));
    return _mm512_cvttps_epi32(_mm512_add_ps(scaled, half)); /* not negative: truncation floors */
}

int bnn_stochastic_pack_avx512(const float *x, const bnn_draws *draws, int64_t P, int64_t C,
                               uint64_t *out) {
    BNN_TRY(bnn_check_draws(draws, P, C));
    const int bits = draws->bits;
    buffer held = {{0}, 0, 0};
    int found_nan = 0;
    for (int64_t p = 0; p < P; p++) {
        for (int64_t word = 0; word < bnn_words(C); word++) {
            const int64_t at = p * C + word * 64, count = bnn_min(64, C - word * 64);
            const uint64_t valid = bnn_valid_bits(count, 0);
            const int64_t e = draws->first + at;
            uint64_t plus = 0;
            if (e < held.first || e + count > held.end) refill(&held, draws, e);
            for (int i = 0; i < count; i += 16) {
                const __mmask16 lanes = (__mmask16)(valid >> i);
                const __m512 values = _mm512_maskz_loadu_ps(lanes, x + at + i);
                const __m512i u = draw16(&held, bits, e + i, lanes);
                const __m512i p_int = probability16(values, bits);
                plus |= (uint64_t)_mm512_mask_cmplt_epu32_mask(lanes, u, p_int) << i;
                found_nan |= _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q) != 0;
            }
            out[p * bnn_words(C) + word] = plus;
        }
    }
    return found_nan ? BNN_ERR_NAN : BNN_OK;
}

#endif
