/* Bytes x bit weights with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#include <immintrin.h>
#include <stdint.h>

#define VECTOR_BYTES 64
#define KERNEL(op) bnn_##op##_avx512
#define FEW 6
#define CHANNELS 8      /* of a panel */
#define WORDS_PER_SUM 32 /* each adds two values to an int16: 64 of at most 511 */

/* The sums of one position: bits are masks, so that 32 values are added at once where they are
 * +1; twice that less the sum of all is the product. row is of whole words, zero past its end. */
static inline void sum_few(const int16_t *row, const uint64_t *panel, int64_t words,
                           int32_t sums[CHANNELS]) {
    const __m512i one = _mm512_set1_epi16(1);
    __m512i wide[CHANNELS], all = _mm512_setzero_si512();
    for (int c = 0; c < CHANNELS; c++) wide[c] = _mm512_setzero_si512();
    for (int64_t first = 0; first < words; first += WORDS_PER_SUM) {
        const int64_t end = words - first < WORDS_PER_SUM ? words : first + WORDS_PER_SUM;
        __m512i plus[CHANNELS], total = _mm512_setzero_si512();
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) plus[c] = _mm512_setzero_si512();
        for (int64_t w = first; w < end; w++) {
            const __m512i low = _mm512_load_si512(row + 64 * w);
            const __m512i high = _mm512_load_si512(row + 64 * w + 32);
            total = _mm512_add_epi16(total, _mm512_add_epi16(low, high));
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; c++) {
                const uint64_t bits = panel[w * CHANNELS + c];
                plus[c] = _mm512_mask_add_epi16(plus[c], (__mmask32)bits, plus[c], low);
                plus[c] = _mm512_mask_add_epi16(plus[c], (__mmask32)(bits >> 32), plus[c], high);
            }
        }
        all = _mm512_add_epi32(all, _mm512_madd_epi16(total, one));
        for (int c = 0; c < CHANNELS; c++)
            wide[c] = _mm512_add_epi32(wide[c], _mm512_madd_epi16(plus[c], one));
    }
    for (int c = 0; c < CHANNELS; c++)
        sums[c] = _mm512_reduce_add_epi32(
            _mm512_sub_epi32(_mm512_slli_epi32(wide[c], 1), all));
}

#include "../byte_bit.inc"
#endif
