/* Bytes x bit weights with AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include <immintrin.h>
#include <stdint.h>

#define VECTOR_BYTES 32
#define KERNEL(op) bnn_##op##_avx2
#define BY_ROWS(l, count) ((count) <= 4) /* lanes would mostly idle */
#define CHANNELS 8       /* of a panel */
#define WORDS_PER_SUM 16 /* each adds four values to an int16: 64 of at most 511 */

/* Add the 16 values whose bits are set. */
static inline __m256i add_where(__m256i sum, uint64_t bits, __m256i values) {
    const __m256i places = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
                                             8192, 16384, INT16_MIN);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi16((int16_t)(uint16_t)bits), places);
    return _mm256_add_epi16(sum, _mm256_and_si256(_mm256_cmpeq_epi16(set, places), values));
}

static inline int32_t sum_of_lanes(__m256i v) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

/* The sums of one position: twice those of the values whose weights are +1, less that of all. row
 * is of whole words, zero past its end. */
static inline void sum_few(const int16_t *row, const uint64_t *panel, int64_t words,
                           int32_t sums[CHANNELS]) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i wide[CHANNELS], all = _mm256_setzero_si256();
    for (int c = 0; c < CHANNELS; c++) wide[c] = _mm256_setzero_si256();
    for (int64_t first = 0; first < words; first += WORDS_PER_SUM) {
        const int64_t end = words - first < WORDS_PER_SUM ? words : first + WORDS_PER_SUM;
        __m256i plus[CHANNELS], total = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) plus[c] = _mm256_setzero_si256();
        for (int64_t i = 4 * first; i < 4 * end; i++) {
            const __m256i values = _mm256_load_si256((const void *)(row + 16 * i));
            total = _mm256_add_epi16(total, values);
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; c++)
                plus[c] =
                    add_where(plus[c], panel[i / 4 * CHANNELS + c] >> (i % 4 * 16), values);
        }
        all = _mm256_add_epi32(all, _mm256_madd_epi16(total, one));
        for (int c = 0; c < CHANNELS; c++)
            wide[c] = _mm256_add_epi32(wide[c], _mm256_madd_epi16(plus[c], one));
    }
    for (int c = 0; c < CHANNELS; c++)
        sums[c] = sum_of_lanes(_mm256_sub_epi32(_mm256_slli_epi32(wide[c], 1), all));
}

#include "../byte_bit.inc"

static void multiply_rows(const lookup *l, const target *t, int64_t group, int64_t p,
                          int64_t count) {
    const uint64_t *panels = l->panels + group * l->group_words;
    for (int64_t r = 0; r < count; r++) {
        const int16_t *row = row_of(l, t, p, r, 0, l->K);
        for (int64_t n = 0; n < l->conv->out_channels / l->conv->groups; n += CHANNELS) {
            int32_t sums[CHANNELS];
            sum_few(row, panels + n * l->words, l->words, sums);
            for (int c = 0; c < CHANNELS; c++) t->totals[n + c][r] = sums[c];
        }
    }
    store(l, t, group, p, count);
}
#endif
