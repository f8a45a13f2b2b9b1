/*
 * The inner tile of the bit kernels (see bit_tile.h) for AVX-512 VPOPCNTDQ: up to 4 rows x 32
 * output channels, one channel per 64-bit lane, so nothing is summed across lanes.
 */
#ifndef BNNSIM_BIT_TILE_AVX512_H
#define BNNSIM_BIT_TILE_AVX512_H

#include <immintrin.h>

#include "../bit_tile.h"

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 8
#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)

/* Add the mismatches of one run; row r of it starts at a + starts[r]. */
ALWAYS_INLINE void tile_run(const uint64_t *a, const int64_t *starts, int64_t words,
                            const uint64_t *panel, const int rows, const int vectors,
                            __m512i sums[TILE_ROWS][TILE_VECTORS]) {
    const uint64_t *row[TILE_ROWS];
    for (int r = 0; r < rows; r++) row[r] = a + starts[r];
    for (int64_t k = 0; k < words; k++, panel += TILE_CHANNELS) {
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const __m512i word = _mm512_set1_epi64((int64_t)row[r][k]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const __m512i differ =
                    _mm512_xor_si512(word, _mm512_loadu_si512(panel + v * TILE_LANES));
                sums[r][v] = _mm512_add_epi64(sums[r][v], _mm512_popcnt_epi64(differ));
            }
        }
    }
}

/* sums[r][v]: mismatches of row r with the 8 channels of vector v. */
ALWAYS_INLINE void tile_mismatches(const uint64_t *a, const int64_t *starts, const tile_runs *runs,
                                   const uint64_t *panel, const int rows, const int vectors,
                                   __m512i sums[TILE_ROWS][TILE_VECTORS]) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_setzero_si512();
    for (int64_t o = 0; o < runs->outer; o++) {
        for (int64_t i = 0; i < runs->inner; i++) {
            const int64_t offset = o * runs->outer_stride + i * runs->inner_stride;
            tile_run(a + offset, starts, runs->words, panel, rows, vectors, sums);
            panel += runs->words * TILE_CHANNELS;
        }
    }
}

/* Store K - 2 * mismatches of `channels` channels; out rows are out_stride apart. */
ALWAYS_INLINE void tile_store(__m512i sums[TILE_ROWS][TILE_VECTORS], int64_t K, const int rows,
                              const int vectors, int64_t channels, int32_t *out,
                              int64_t out_stride) {
    const __m512i full = _mm512_set1_epi32((int32_t)K);
    const __m512i low_halves = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6,
                                                4, 2, 0);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v += 2) {
        const int64_t left = channels - v * TILE_LANES;
        const __mmask16 lanes = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const __m512i next = v + 1 < vectors ? sums[r][v + 1] : sums[r][v];
            const __m512i mismatches = _mm512_permutex2var_epi32(sums[r][v], low_halves, next);
            const __m512i acc = _mm512_sub_epi32(full, _mm512_slli_epi32(mismatches, 1));
            _mm512_mask_storeu_epi32(out + r * out_stride + v * TILE_LANES, lanes, acc);
        }
    }
}

ALWAYS_INLINE void tile_fixed(const uint64_t *a, const int64_t *starts, const tile_runs *runs,
                              const uint64_t *panel, int64_t K, const int rows, const int vectors,
                              int64_t channels, int32_t *out, int64_t out_stride) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < rows; r++) /* the stores come late: fetch their lines now */
        for (int v = 0; v < vectors; v += 2)
            __builtin_prefetch(out + r * out_stride + v * TILE_LANES, 1);
    tile_mismatches(a, starts, runs, panel, rows, vectors, sums);
    tile_store(sums, K, rows, vectors, channels, out, out_stride);
}

TILE_BIT(TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4))

#endif
