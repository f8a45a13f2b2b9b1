/* Bytes from bits, to and from planes, with AVX-512; the meaning is ref/pack.c. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include <immintrin.h>

#include "../internal.h"

#define BYTES 64 /* in a register: one word of bits */

int bnn_unpack_bit_avx512(const uint64_t *words, int64_t P, int64_t C, int8_t *out) {
    const __m512i one = _mm512_set1_epi8(1), minus = _mm512_set1_epi8(-1);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_tails(words, P, C));
    for (int64_t p = 0; p < P; p++, out += C)
        for (int64_t j = 0; j < bnn_words(C); j++)
            _mm512_mask_storeu_epi8(out + j * BYTES, bnn_valid_bits(C, j),
                                    _mm512_mask_mov_epi8(minus, *words++, one));
    return BNN_OK;
}

/* u of up to 32 int16 values, a byte each; *bad gets the lanes that are not on the grid. */
static inline __m256i levels16(const int16_t *x, __mmask32 lanes, const bnn_planes *grid,
                               __mmask32 *bad) {
    const __m512i low = _mm512_set1_epi16((int16_t)grid->low);
    const __m512i top = _mm512_set1_epi16((int16_t)(grid->step * ((1 << grid->x_bits) - 1)));
    const __m512i above = _mm512_sub_epi16(_mm512_mask_loadu_epi16(low, lanes, x), low);
    *bad |= _mm512_cmpgt_epu16_mask(above, top);
    *bad |= _mm512_test_epi16_mask(above, _mm512_set1_epi16((int16_t)(grid->step - 1)));
    const __m128i half = _mm_cvtsi32_si128(grid->step - 1);
    return _mm512_cvtepi16_epi8(_mm512_srl_epi16(above, half));
}

/* The same of up to 64 values of a byte. The least value wraps to more than the top. */
static inline __m512i levels8(const void *x, __mmask64 lanes, const bnn_planes *grid,
                              __mmask64 *bad) {
    const __m512i low = _mm512_set1_epi8((int8_t)grid->low);
    const __m512i top = _mm512_set1_epi8((int8_t)(grid->step * ((1 << grid->x_bits) - 1)));
    const __m512i above = _mm512_sub_epi8(_mm512_mask_loadu_epi8(low, lanes, x), low);
    *bad |= _mm512_cmpgt_epu8_mask(above, top);
    if (grid->step == 1) return above;
    *bad |= _mm512_test_epi8_mask(above, _mm512_set1_epi8(1));
    return _mm512_and_si512(_mm512_srli_epi16(above, 1), _mm512_set1_epi8(127));
}

int bnn_pack_planes_avx512(const void *x, int x_type, const bnn_planes *planes, int64_t images,
                           int64_t P, int64_t C, uint64_t *out) {
    const int64_t words = bnn_words(C), plane = P * words;
    __mmask64 bad = 0;
    __mmask32 bad_low = 0, bad_high = 0;
    BNN_TRY(bnn_check_grid(x_type, planes, images, P, C));
    for (int64_t p = 0; p < images * P; p++) {
        uint64_t *row = out + p / P * planes->x_bits * plane + p % P * words;
        for (int64_t j = 0; j < words; j++) {
            const __mmask64 lanes = bnn_valid_bits(C, j);
            const int64_t at = p * C + j * BYTES;
            __m512i u;
            if (x_type == BNN_INT16) {
                const int16_t *values = (const int16_t *)x + at;
                u = _mm512_castsi256_si512(
                    levels16(values, (__mmask32)lanes, planes, &bad_low));
                u = _mm512_inserti64x4(
                    u, levels16(values + 32, (__mmask32)(lanes >> 32), planes, &bad_high), 1);
            } else {
                u = levels8((const char *)x + at, lanes, planes, &bad);
            }
            for (int i = 0; i < planes->x_bits; i++)
                row[i * plane + j] = _mm512_test_epi8_mask(u, _mm512_set1_epi8((char)(1 << i)));
        }
    }
    return bad || bad_low || bad_high ? BNN_ERR_VALUE : BNN_OK;
}

/* low + step * u of 32 bytes u, as int16. */
static inline __m512i values16(__m256i u, const bnn_planes *grid) {
    const __m512i steps = _mm512_sll_epi16(_mm512_cvtepu8_epi16(u), _mm_cvtsi32_si128(grid->step - 1));
    return _mm512_add_epi16(steps, _mm512_set1_epi16((int16_t)grid->low));
}

int bnn_unpack_planes_avx512(const uint64_t *x, int x_type, const bnn_planes *planes,
                             int64_t images, int64_t P, int64_t C, void *out) {
    const int64_t words = bnn_words(C), plane = P * words;
    const __m512i low = _mm512_set1_epi8((int8_t)planes->low);
    BNN_TRY(bnn_check_grid(x_type, planes, images, P, C));
    BNN_TRY(bnn_check_tails(x, images * planes->x_bits * P, C));
    for (int64_t p = 0; p < images * P; p++) {
        const uint64_t *row = x + p / P * planes->x_bits * plane + p % P * words;
        for (int64_t j = 0; j < words; j++) {
            const __mmask64 lanes = bnn_valid_bits(C, j);
            const int64_t at = p * C + j * BYTES;
            __m512i u = _mm512_setzero_si512();
            for (int i = 0; i < planes->x_bits; i++)
                u = _mm512_mask_add_epi8(u, row[i * plane + j], u,
                                         _mm512_set1_epi8((char)(1 << i)));
            if (x_type == BNN_INT16) {
                int16_t *values = (int16_t *)out + at;
                _mm512_mask_storeu_epi16(values, (__mmask32)lanes,
                                         values16(_mm512_castsi512_si256(u), planes));
                _mm512_mask_storeu_epi16(values + 32, (__mmask32)(lanes >> 32),
                                         values16(_mm512_extracti64x4_epi64(u, 1), planes));
                continue;
            }
            if (planes->step == 2) u = _mm512_add_epi8(u, u);
            _mm512_mask_storeu_epi8((char *)out + at, lanes, _mm512_add_epi8(u, low));
        }
    }
    return BNN_OK;
}

#endif
