/*
 * The inner tile of the bit kernels (see bit_tile.h) for AVX-512 VPOPCNTDQ: up to 4 rows x 32
 * output channels, one channel per 64-bit lane, so nothing is summed across lanes.
 */
#ifndef BNNSIM_BIT_TILE_AVX512_H
#define BNNSIM_BIT_TILE_AVX512_H

#include <immintrin.h>

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 8
#include "../bit_tile.h"

/* Add the mismatches of one word of every row to sums[r][v], or, the first time, store them. */
ALWAYS_INLINE void tile_word(const uint64_t *const row[TILE_ROWS], int64_t k, const uint64_t *panel,
                             const int rows, const int vectors, const int first,
                             __m512i sums[TILE_ROWS][TILE_VECTORS]) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        const __m512i word = _mm512_set1_epi64((int64_t)row[r][k]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const __m512i differ =
                _mm512_xor_si512(word, _mm512_loadu_si512(panel + v * TILE_LANES));
            const __m512i count = _mm512_popcnt_epi64(differ);
            sums[r][v] = first ? count : _mm512_add_epi64(sums[r][v], count);
        }
    }
}

/* sums[r][v]: mismatches of row r with the 8 channels of vector v. */
ALWAYS_INLINE void tile_mismatches(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, __m512i sums[TILE_ROWS][TILE_VECTORS]) {
    const uint64_t *row[TILE_ROWS], *panel = t->panel;
    const int64_t *run = runs->offset, *const end = runs->end, words = runs->words;
    int64_t k = *run, last = k + words;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) row[r] = t->row[r];
    tile_word(row, k, panel, rows, vectors, 1, sums);
    for (;;) {
        while (++k != last) {
            panel += TILE_CHANNELS;
            tile_word(row, k, panel, rows, vectors, 0, sums);
        }
        if (++run == end) break;
        k = *run - 1, last = *run + words;
    }
}

ALWAYS_INLINE void tile_sums_fixed(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, int32_t *out, int64_t stride) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    const __m512i low_halves = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6,
                                                4, 2, 0);
    for (int r = 0; r < rows; r++) /* the stores come late: fetch their lines now */
        for (int v = 0; v < vectors; v += 2)
            __builtin_prefetch(out + r * stride + v * TILE_LANES, 1);
    tile_mismatches(t, runs, rows, vectors, sums);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v += 2) {
        const int64_t left = t->channels - v * TILE_LANES;
        const __mmask16 lanes = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const __m512i base =
                _mm512_loadu_si512((const int32_t *)t->level[r] + v * TILE_LANES);
            const __m512i next = v + 1 < vectors ? sums[r][v + 1] : sums[r][v];
            const __m512i mismatches = _mm512_permutex2var_epi32(sums[r][v], low_halves, next);
            const __m512i acc = _mm512_sub_epi32(base, _mm512_slli_epi32(mismatches, 1));
            if (left >= 16) /* a masked store costs several */
                _mm512_storeu_si512(out + r * stride + v * TILE_LANES, acc);
            else
                _mm512_mask_storeu_epi32(out + r * stride + v * TILE_LANES, lanes, acc);
        }
    }
}

ALWAYS_INLINE void tile_bits_fixed(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, const tile_bits_out *out) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    tile_mismatches(t, runs, rows, vectors, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        __mmask8 below[TILE_VECTORS] = {0}; /* joined as masks, ahead of the slow way out of them */
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            below[v] = _mm512_cmplt_epi64_mask(
                sums[r][v], _mm512_loadu_si512((const int64_t *)t->level[r] + v * TILE_LANES));
        const __mmask16 low = vectors > 1 ? _mm512_kunpackb(below[1], below[0]) : below[0];
        const __mmask16 high = vectors > 3 ? _mm512_kunpackb(below[3], below[2]) : below[2];
        const uint64_t bits = vectors > 2 ? _mm512_kunpackw(high, low) : low;
        tile_put(out, r, bits);
    }
}

static inline void tile_sums(const tile *t, const tile_runs *runs, int rows, int32_t *out,
                             int64_t stride) {
#define TILE_CALL(r, v) tile_sums_fixed(t, runs, r, v, out, stride)
    switch (tile_shape(t, rows)) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) }
#undef TILE_CALL
}

static inline void tile_bits(const tile *t, const tile_runs *runs, int rows,
                             const tile_bits_out *out) {
#define TILE_CALL(r, v) tile_bits_fixed(t, runs, r, v, out)
    switch (tile_shape(t, rows)) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) }
#undef TILE_CALL
}

#endif
