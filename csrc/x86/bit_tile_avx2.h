/*
 * The inner tile of the bit kernels (see bit_tile.h) for AVX2: up to 2 rows x 16 output channels,
 * one channel per 64-bit lane. AVX2 has no population count, so each nibble is looked up and the
 * counts are added byte by byte, as in Mula, Kurz and Lemire, "Faster population counts using AVX2
 * instructions", Computer Journal 61(1), 2018; a byte holds 31 words of at most 8 bits.
 */
#ifndef BNNSIM_BIT_TILE_AVX2_H
#define BNNSIM_BIT_TILE_AVX2_H

#include <immintrin.h>

#define TILE_ROWS 2
#define TILE_VECTORS 4
#define TILE_LANES 4
#include "../bit_tile.h"

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

/* Add the mismatches of at most WORDS_PER_BYTE words of a run, which starts at row[r] + offset. */
ALWAYS_INLINE void tile_words(const tile *t, int64_t offset, int64_t words, const uint64_t *panel,
                              const int mode, const int rows, const int vectors,
                              __m256i sums[TILE_ROWS][TILE_VECTORS]) {
    __m256i bytes[TILE_ROWS][TILE_VECTORS];
    const int64_t step = mode == TILE_MASKED ? 2 * TILE_CHANNELS : TILE_CHANNELS;
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) bytes[r][v] = _mm256_setzero_si256();
    for (int64_t k = 0; k < words; k++, panel += step) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            const __m256i word = _mm256_set1_epi64x((int64_t)t->row[r][offset + k]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const __m256i *sign = (const void *)(panel + v * TILE_LANES);
                __m256i differ = _mm256_xor_si256(word, _mm256_loadu_si256(sign));
                if (mode == TILE_MASKED)
                    differ = _mm256_and_si256(differ, _mm256_loadu_si256(sign + TILE_VECTORS));
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

/* sums[r][v] += mismatches of row r, from word `from` on, with the 4 channels of vector v. */
ALWAYS_INLINE void tile_count(const tile *t, const tile_runs *runs, int64_t from,
                              const uint64_t *panel, const int mode, const int rows,
                              const int vectors, __m256i sums[TILE_ROWS][TILE_VECTORS]) {
    const int64_t step = mode == TILE_MASKED ? 2 * TILE_CHANNELS : TILE_CHANNELS;
    for (const int64_t *run = runs->offset; run != runs->end; run++) {
        for (int64_t k = 0; k < runs->words; k += WORDS_PER_BYTE) {
            const int64_t words = bnn_min(WORDS_PER_BYTE, runs->words - k);
            tile_words(t, from + *run + k, words, panel, mode, rows, vectors, sums);
            panel += words * step;
        }
    }
}

/* sums[r][v]: mismatches of row r with the 4 channels of vector v, weighted over all passes. */
ALWAYS_INLINE void tile_mismatches(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors,
                                   __m256i sums[TILE_ROWS][TILE_VECTORS]) {
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm256_setzero_si256();
    if (mode == TILE_BITS) {
        tile_count(t, runs, 0, t->panel, mode, rows, vectors, sums);
        return;
    }
    for (const tile_pass *pass = runs->pass; pass != runs->pass_end; pass++) {
        const __m128i shift = _mm_cvtsi32_si128(pass->shift);
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] = _mm256_sll_epi64(sums[r][v], shift);
        tile_count(t, runs, pass->row, t->panel + pass->panel, mode, rows, vectors, sums);
    }
}

/* The sums of two vectors of a row, of which the first `left` channels exist. */
ALWAYS_INLINE void tile_put_sums(__m256i low, __m256i high, const int32_t *base, __m128i scale,
                                 int64_t left, int32_t *out) {
    const __m256i halves = _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88));
    const __m256i mismatches = _mm256_permute4x64_epi64(halves, 0xd8);
    const __m256i acc = _mm256_sub_epi32(_mm256_loadu_si256((const void *)base),
                                         _mm256_sll_epi32(mismatches, scale));
    if (left >= 8) {
        _mm256_storeu_si256((void *)out, acc);
    } else {
        const __m256i channel = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_epi32(out, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)left), channel), acc);
    }
}

ALWAYS_INLINE void tile_sums_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, int32_t *out,
                                   int64_t stride) {
    __m256i sums[TILE_ROWS][TILE_VECTORS];
    const __m128i scale = _mm_cvtsi32_si128(mode == TILE_BITS ? 1 : runs->scale);
    tile_mismatches(t, runs, mode, rows, vectors, sums);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v += 2)
            tile_put_sums(sums[r][v], sums[r][v + 1 < vectors ? v + 1 : v],
                          (const int32_t *)t->level[r] + v * TILE_LANES, scale,
                          t->channels - v * TILE_LANES, out + r * stride + v * TILE_LANES);
}

/* All bits of the channels with fewer mismatches than their limits. */
ALWAYS_INLINE __m256i tile_below(__m256i sums, const int64_t *limits) {
    return _mm256_cmpgt_epi64(_mm256_loadu_si256((const void *)limits), sums);
}

/* Bit n: the top bit of channel n. */
ALWAYS_INLINE uint64_t tile_tops(const __m256i values[TILE_VECTORS], const int vectors) {
    uint64_t bits = 0;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        bits |= (uint64_t)_mm256_movemask_pd(_mm256_castsi256_pd(values[v])) << (v * TILE_LANES);
    return bits;
}

ALWAYS_INLINE void tile_bits_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, const tile_bits_out *out) {
    __m256i sums[TILE_ROWS][TILE_VECTORS];
    tile_mismatches(t, runs, mode, rows, vectors, sums);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        const int64_t *limits = t->level[r];
        const int bits = mode == TILE_BITS ? 1 : out->bits;
        __m256i met[TILE_VECTORS]; /* minus how many limits are not reached */
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) met[v] = tile_below(sums[r][v], limits + v * TILE_LANES);
        if (bits == 1) {
            tile_put(out, r, 0, tile_tops(met, vectors));
            continue;
        }
        for (int i = 1; i < (1 << bits) - 1; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                met[v] = _mm256_add_epi64(
                    met[v], tile_below(sums[r][v], limits + i * out->limits + v * TILE_LANES));
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            met[v] = _mm256_slli_epi64(_mm256_sub_epi64(_mm256_setzero_si256(), met[v]), 64 - bits);
        for (int plane = bits - 1; plane >= 0; plane--) {
            tile_put(out, r, plane, tile_tops(met, vectors));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) met[v] = _mm256_add_epi64(met[v], met[v]);
        }
    }
}

static inline void tile_sums(const tile *t, const tile_runs *runs, int rows, int32_t *out,
                             int64_t stride) {
#define TILE_CALL(m, r, v) tile_sums_fixed(t, runs, m, r, v, out, stride)
    switch (tile_shape(t, runs, rows)) { TILE_CASES(1) TILE_CASES(2) }
#undef TILE_CALL
}

static inline void tile_bits(const tile *t, const tile_runs *runs, int rows,
                             const tile_bits_out *out) {
#define TILE_CALL(m, r, v) tile_bits_fixed(t, runs, m, r, v, out)
    switch (tile_shape(t, runs, rows)) { TILE_CASES(1) TILE_CASES(2) }
#undef TILE_CALL
}

#endif
