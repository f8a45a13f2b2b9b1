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
                             const int mode, const int rows, const int vectors, const int first,
                             __m512i sums[TILE_ROWS][TILE_VECTORS]) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        const __m512i word = _mm512_set1_epi64((int64_t)row[r][k]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const __m512i sign = _mm512_loadu_si512(panel + v * TILE_LANES);
            const __m512i differ =
                mode == TILE_MASKED
                    ? _mm512_ternarylogic_epi64( /* (word xor sign) and mask */
                          word, sign, _mm512_loadu_si512(panel + TILE_CHANNELS + v * TILE_LANES),
                          0x28)
                    : _mm512_xor_si512(word, sign);
            const __m512i count = _mm512_popcnt_epi64(differ);
            sums[r][v] = first ? count : _mm512_add_epi64(sums[r][v], count);
        }
    }
}

/* Add, or from the first word on store, the mismatches of the runs whose rows start at word `from`. */
ALWAYS_INLINE void tile_count(const tile *t, const tile_runs *runs, int64_t from,
                              const uint64_t *panel, const int mode, const int rows,
                              const int vectors, const int first,
                              __m512i sums[TILE_ROWS][TILE_VECTORS]) {
    const uint64_t *row[TILE_ROWS];
    const int64_t *run = runs->offset, *const end = runs->end, words = runs->words;
    int64_t k = *run, last = k + words;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) row[r] = t->row[r] + from;
    tile_word(row, k, panel, mode, rows, vectors, first, sums);
    for (;;) {
        while (++k != last) {
            panel += TILE_CHANNELS * (mode == TILE_MASKED ? 2 : 1);
            tile_word(row, k, panel, mode, rows, vectors, 0, sums);
        }
        if (++run == end) break;
        k = *run - 1, last = *run + words;
    }
}

/* sums[r][v]: mismatches of row r with the 8 channels of vector v, weighted over all passes. */
ALWAYS_INLINE void tile_mismatches(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors,
                                   __m512i sums[TILE_ROWS][TILE_VECTORS]) {
    if (mode == TILE_BITS) {
        tile_count(t, runs, 0, t->panel, mode, rows, vectors, 1, sums);
        return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_setzero_si512();
    for (const tile_pass *pass = runs->pass; pass != runs->pass_end; pass++) {
        const __m128i shift = _mm_cvtsi32_si128(pass->shift);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_sll_epi64(sums[r][v], shift);
        tile_count(t, runs, pass->row, t->panel + pass->panel, mode, rows, vectors, 0, sums);
    }
}

ALWAYS_INLINE void tile_sums_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, int32_t *out,
                                   int64_t stride) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    const __m128i scale = _mm_cvtsi32_si128(runs->scale);
    const __m512i low_halves = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6,
                                                4, 2, 0);
    for (int r = 0; r < rows; r++) /* the stores come late: fetch their lines now */
        for (int v = 0; v < vectors; v += 2)
            __builtin_prefetch(out + r * stride + v * TILE_LANES, 1);
    tile_mismatches(t, runs, mode, rows, vectors, sums);
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
            const __m512i lost = mode == TILE_BITS ? _mm512_slli_epi32(mismatches, 1)
                                                   : _mm512_sll_epi32(mismatches, scale);
            const __m512i acc = _mm512_sub_epi32(base, lost);
            if (left >= 16) /* a masked store costs several */
                _mm512_storeu_si512(out + r * stride + v * TILE_LANES, acc);
            else
                _mm512_mask_storeu_epi32(out + r * stride + v * TILE_LANES, lanes, acc);
        }
    }
}

/* One bit per channel of the masks of the vectors, joined ahead of the slow way out of masks. */
ALWAYS_INLINE uint64_t tile_join(const __mmask8 part[TILE_VECTORS], const int vectors) {
    const __mmask16 low = vectors > 1 ? _mm512_kunpackb(part[1], part[0]) : part[0];
    const __mmask16 high = vectors > 3 ? _mm512_kunpackb(part[3], part[2]) : part[2];
    return vectors > 2 ? _mm512_kunpackw(high, low) : low;
}

/* Bit n: channel n has fewer mismatches than its limit. */
ALWAYS_INLINE uint64_t tile_below(const __m512i sums[TILE_VECTORS], const int64_t *limits,
                                  const int vectors) {
    __mmask8 below[TILE_VECTORS] = {0};
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        below[v] =
            _mm512_cmplt_epi64_mask(sums[v], _mm512_loadu_si512(limits + v * TILE_LANES));
    return tile_join(below, vectors);
}

/* How many limits are not reached, bit by bit. */
ALWAYS_INLINE void tile_put_levels(const __m512i sums[TILE_VECTORS], const int64_t *limits,
                                   const int vectors, int r, const tile_bits_out *out) {
    __m512i met[TILE_VECTORS];
    const __m512i one = _mm512_set1_epi64(1);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) met[v] = _mm512_setzero_si512();
    for (int i = 0; i < (1 << out->bits) - 1; i++, limits += out->limits)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const __mmask8 below =
                _mm512_cmplt_epi64_mask(sums[v], _mm512_loadu_si512(limits + v * TILE_LANES));
            met[v] = _mm512_mask_add_epi64(met[v], below, met[v], one);
        }
    for (int plane = 0; plane < out->bits; plane++) {
        const __m512i place = _mm512_set1_epi64(INT64_C(1) << plane);
        __mmask8 set[TILE_VECTORS] = {0};
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) set[v] = _mm512_test_epi64_mask(met[v], place);
        tile_put(out, r, plane, tile_join(set, vectors));
    }
}

ALWAYS_INLINE void tile_bits_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, const tile_bits_out *out) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    tile_mismatches(t, runs, mode, rows, vectors, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        if (mode == TILE_BITS || out->bits == 1)
            tile_put(out, r, 0, tile_below(sums[r], t->level[r], vectors));
        else
            tile_put_levels(sums[r], t->level[r], vectors, r, out);
}

static inline void tile_sums(const tile *t, const tile_runs *runs, int rows, int32_t *out,
                             int64_t stride) {
#define TILE_CALL(m, r, v) tile_sums_fixed(t, runs, m, r, v, out, stride)
    switch (tile_shape(t, runs, rows)) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) }
#undef TILE_CALL
}

static inline void tile_bits(const tile *t, const tile_runs *runs, int rows,
                             const tile_bits_out *out) {
#define TILE_CALL(m, r, v) tile_bits_fixed(t, runs, m, r, v, out)
    switch (tile_shape(t, runs, rows)) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) }
#undef TILE_CALL
}

#endif
