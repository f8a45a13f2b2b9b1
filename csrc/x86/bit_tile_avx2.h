/*
 * The inner tile of the bit kernels (see bit_tile.h) for AVX2: up to 2 rows x 16 output channels,
 * one channel per 64-bit lane. AVX2 has no population count, so each nibble is looked up and the
 * counts are added byte by byte, as in Mula, Kurz and Lemire, "Faster population counts using AVX2
 * instructions", Computer Journal 61(1), 2018; a byte holds 31 words of at most 8 bits.
 */
#ifndef BNNSIM_BIT_TILE_AVX2_H
#define BNNSIM_BIT_TILE_AVX2_H

#include <immintrin.h>

#include "../bit_tile.h"

#define TILE_ROWS 2
#define TILE_VECTORS 4
#define TILE_LANES 4
#define WORDS_PER_BYTE 31

/* Bits set in each byte. */
ALWAYS_INLINE __m256i count_bytes(__m256i bits) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1,
                                           2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(bits, nibble);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
}

/* Add the mismatches of at most WORDS_PER_BYTE words of a run; row r starts at a + starts[r]. */
ALWAYS_INLINE void tile_words(const uint64_t *a, const int64_t *starts, int64_t words,
                              const uint64_t *panel, const int rows, const int vectors,
                              __m256i sums[TILE_ROWS][TILE_VECTORS]) {
    __m256i bytes[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) bytes[r][v] = _mm256_setzero_si256();
    for (int64_t k = 0; k < words; k++, panel += TILE_CHANNELS) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            const __m256i word = _mm256_set1_epi64x((int64_t)a[starts[r] + k]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const __m256i weight = _mm256_loadu_si256((const void *)(panel + v * TILE_LANES));
                const __m256i differ = _mm256_xor_si256(word, weight);
                bytes[r][v] = _mm256_add_epi8(bytes[r][v], count_bytes(differ));
            }
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[r][v] = _mm256_add_epi64(
                sums[r][v], _mm256_sad_epu8(bytes[r][v], _mm256_setzero_si256()));
}

/* Store K - 2 * mismatches of `channels` channels. */
ALWAYS_INLINE void tile_store(__m256i sums[TILE_ROWS][TILE_VECTORS], int64_t K, const int rows,
                              const int vectors, int64_t channels, int32_t *out, int64_t stride) {
    for (int r = 0; r < rows; r++) {
        int64_t mismatches[TILE_CHANNELS] = {0};
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            _mm256_storeu_si256((void *)(mismatches + v * TILE_LANES), sums[r][v]);
        for (int64_t c = 0; c < channels; c++)
            out[r * stride + c] = (int32_t)(K - 2 * mismatches[c]);
    }
}

ALWAYS_INLINE void tile_fixed(const uint64_t *a, const int64_t *starts, const tile_runs *runs,
                              const uint64_t *panel, int64_t K, const int rows, const int vectors,
                              int64_t channels, int32_t *out, int64_t stride) {
    __m256i sums[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm256_setzero_si256();
    for (int64_t o = 0; o < runs->outer; o++) {
        for (int64_t i = 0; i < runs->inner; i++) {
            const uint64_t *run = a + o * runs->outer_stride + i * runs->inner_stride;
            for (int64_t k = 0; k < runs->words; k += WORDS_PER_BYTE) {
                const int64_t words = bnn_min(WORDS_PER_BYTE, runs->words - k);
                tile_words(run + k, starts, words, panel, rows, vectors, sums);
                panel += words * TILE_CHANNELS;
            }
        }
    }
    tile_store(sums, K, rows, vectors, channels, out, stride);
}

TILE_BIT(TILE_CASES(1) TILE_CASES(2))

#endif
