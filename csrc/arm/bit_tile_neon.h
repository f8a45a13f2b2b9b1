/*
 * The inner tile of the bit kernels (see ../bit_tile.h) for NEON: up to 4 rows x 8 output channels,
 * one channel per 64-bit lane. CNT counts the bits of each byte, so 128 bits cost EOR, CNT, ADD; a
 * byte holds 31 words of at most 8 bits, over as many runs as they span, before it is widened.
 * Nothing is summed across lanes until one pairwise add per 4 results. docs/instruction_sets.md has
 * the instruction counts and why the tile has this shape.
 */
#ifndef BNNSIM_BIT_TILE_NEON_H
#define BNNSIM_BIT_TILE_NEON_H

#include <arm_neon.h>
#include <string.h>

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 2
#include "../bit_tile.h"

#define WORDS_PER_BYTE 31

/* bytes: mismatches of the last words, per byte; sums: of all words before, in 4 parts of which 2
 * belong to one channel (K <= BNN_MAX_K_BIT keeps each within 32 bits). */
typedef struct tile_counts {
    uint8x16_t bytes[TILE_ROWS][TILE_VECTORS];
    uint32x4_t sums[TILE_ROWS][TILE_VECTORS];
} tile_counts;

/* sum + the bits in which value and weight differ, byte by byte. */
ALWAYS_INLINE uint8x16_t count_bytes(uint8x16_t sum, uint8x16_t value, uint8x16_t weight) {
    return vaddq_u8(sum, vcntq_u8(veorq_u8(value, weight)));
}

/* Add the mismatches of successive words of a run, from row[r] + offset on. */
ALWAYS_INLINE void tile_words(const tile *t, int64_t offset, int64_t words, const uint64_t *panel,
                              const int rows, const int vectors, tile_counts *counts) {
    const uint64_t *row[TILE_ROWS];
    for (int r = 0; r < rows; r++) row[r] = t->row[r] + offset;
    for (int64_t k = 0; k < words; k++, panel += TILE_CHANNELS) {
        uint8x16_t weights[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            weights[v] = vreinterpretq_u8_u64(vld1q_u64(panel + v * TILE_LANES));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const uint8x16_t word = vreinterpretq_u8_u64(vld1q_dup_u64(row[r] + k));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                counts->bytes[r][v] = count_bytes(counts->bytes[r][v], word, weights[v]);
        }
    }
}

/* Move the byte counts into the sums. */
ALWAYS_INLINE void tile_widen(const int rows, const int vectors, tile_counts *counts) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            counts->sums[r][v] =
                vpadalq_u16(counts->sums[r][v], vpaddlq_u8(counts->bytes[r][v]));
            counts->bytes[r][v] = vdupq_n_u8(0);
        }
}

/* counts->sums: mismatches of the rows with the 2 channels of each vector. */
ALWAYS_INLINE void tile_mismatches(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, tile_counts *counts) {
    const uint64_t *panel = t->panel;
    int64_t held = 0; /* words that the bytes count */
    *counts = (tile_counts){0};
    for (const int64_t *run = runs->offset; run != runs->end; run++) {
        for (int64_t k = 0, words; k < runs->words; k += words) {
            words = bnn_min(WORDS_PER_BYTE - held, runs->words - k);
            tile_words(t, *run + k, words, panel, rows, vectors, counts);
            panel += words * TILE_CHANNELS;
            held += words;
            if (held < WORDS_PER_BYTE) continue;
            tile_widen(rows, vectors, counts);
            held = 0;
        }
    }
    tile_widen(rows, vectors, counts);
}

/* Store base - 2 * mismatches; 2 * mismatches may wrap, the result never does. */
ALWAYS_INLINE void tile_sums_fixed(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, int32_t *out, int64_t stride) {
    tile_counts counts;
    tile_mismatches(t, runs, rows, vectors, &counts);
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v += 2) {
            const int64_t at = v * TILE_LANES, left = t->channels - at;
            const uint32x4_t base = vld1q_u32((const uint32_t *)t->level[r] + at);
            const uint32x4_t next = v + 1 < vectors ? counts.sums[r][v + 1] : vdupq_n_u32(0);
            const uint32x4_t mismatches = vpaddq_u32(counts.sums[r][v], next);
            const uint32x4_t acc = vsubq_u32(base, vshlq_n_u32(mismatches, 1));
            if (left >= 4)
                vst1q_s32(out + r * stride + at, vreinterpretq_s32_u32(acc));
            else
                memcpy(out + r * stride + at, &acc, (size_t)left * sizeof *out);
        }
    }
}

/* Bit n: channel n has fewer mismatches than its limit. */
ALWAYS_INLINE uint64_t tile_below(const uint32x4_t sums[TILE_VECTORS], const int64_t *limits,
                                  const int vectors) {
    uint32x4_t below[TILE_VECTORS] = {vdupq_n_u32(0)};
    const uint16x8_t place = {1, 2, 4, 8, 16, 32, 64, 128};
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const int64x2_t mismatches = vreinterpretq_s64_u64(vpaddlq_u32(sums[v]));
        below[v] = vreinterpretq_u32_u64(vcltq_s64(mismatches, vld1q_s64(limits + 2 * v)));
    }
    const uint32x4_t low = vuzp1q_u32(below[0], below[1]), high = vuzp1q_u32(below[2], below[3]);
    const uint16x8_t all = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
    return vaddvq_u16(vandq_u16(all, place));
}

ALWAYS_INLINE void tile_bits_fixed(const tile *t, const tile_runs *runs, const int rows,
                                   const int vectors, const tile_bits_out *out) {
    tile_counts counts;
    tile_mismatches(t, runs, rows, vectors, &counts);
    for (int r = 0; r < rows; r++)
        tile_put(out, r, tile_below(counts.sums[r], t->level[r], vectors));
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
