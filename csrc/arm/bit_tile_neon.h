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
                              const int mode, const int rows, const int vectors,
                              tile_counts *counts) {
    const uint64_t *row[TILE_ROWS];
    const int64_t step = mode == TILE_MASKED ? 2 * TILE_CHANNELS : TILE_CHANNELS;
    for (int r = 0; r < rows; r++) row[r] = t->row[r] + offset;
    for (int64_t k = 0; k < words; k++, panel += step) {
        uint8x16_t weights[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            weights[v] = vreinterpretq_u8_u64(vld1q_u64(panel + v * TILE_LANES));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const uint8x16_t word = vreinterpretq_u8_u64(vld1q_dup_u64(row[r] + k));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                if (mode != TILE_MASKED) {
                    counts->bytes[r][v] = count_bytes(counts->bytes[r][v], word, weights[v]);
                    continue;
                }
                const uint8x16_t mask =
                    vreinterpretq_u8_u64(vld1q_u64(panel + TILE_CHANNELS + v * TILE_LANES));
                const uint8x16_t differ = vandq_u8(veorq_u8(word, weights[v]), mask);
                counts->bytes[r][v] = vaddq_u8(counts->bytes[r][v], vcntq_u8(differ));
            }
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

/* Count one pass of the rows, from word `from` on. */
ALWAYS_INLINE void tile_count(const tile *t, const tile_runs *runs, int64_t from,
                              const uint64_t *panel, const int mode, const int rows,
                              const int vectors, tile_counts *counts) {
    const int64_t step = mode == TILE_MASKED ? 2 * TILE_CHANNELS : TILE_CHANNELS;
    int64_t held = 0; /* words that the bytes count */
    for (const int64_t *run = runs->offset; run != runs->end; run++) {
        for (int64_t k = 0, words; k < runs->words; k += words) {
            words = bnn_min(WORDS_PER_BYTE - held, runs->words - k);
            tile_words(t, from + *run + k, words, panel, mode, rows, vectors, counts);
            panel += words * step;
            held += words;
            if (held < WORDS_PER_BYTE) continue;
            tile_widen(rows, vectors, counts);
            held = 0;
        }
    }
    tile_widen(rows, vectors, counts);
}

/* counts->sums: mismatches of the rows with the 2 channels of each vector, weighted over passes. */
ALWAYS_INLINE void tile_mismatches(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, tile_counts *counts) {
    *counts = (tile_counts){0};
    if (mode == TILE_BITS) {
        tile_count(t, runs, 0, t->panel, mode, rows, vectors, counts);
        return;
    }
    for (const tile_pass *pass = runs->pass; pass != runs->pass_end; pass++) {
        const int32x4_t shift = vdupq_n_s32(pass->shift);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                counts->sums[r][v] = vshlq_u32(counts->sums[r][v], shift);
        tile_count(t, runs, pass->row, t->panel + pass->panel, mode, rows, vectors, counts);
    }
}

/* Store base - (mismatches << scale); what is taken away may wrap, the result never does. */
ALWAYS_INLINE void tile_sums_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, int32_t *out,
                                   int64_t stride) {
    const int32x4_t scale = vdupq_n_s32(mode == TILE_BITS ? 1 : runs->scale);
    tile_counts counts;
    tile_mismatches(t, runs, mode, rows, vectors, &counts);
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v += 2) {
            const int64_t at = v * TILE_LANES, left = t->channels - at;
            const uint32x4_t base = vld1q_u32((const uint32_t *)t->level[r] + at);
            const uint32x4_t next = v + 1 < vectors ? counts.sums[r][v + 1] : vdupq_n_u32(0);
            const uint32x4_t mismatches = vpaddq_u32(counts.sums[r][v], next);
            const uint32x4_t acc = vsubq_u32(base, vshlq_u32(mismatches, scale));
            if (left >= 4)
                vst1q_s32(out + r * stride + at, vreinterpretq_s32_u32(acc));
            else
                memcpy(out + r * stride + at, &acc, (size_t)left * sizeof *out);
        }
    }
}

/* All bits of the 16-bit lanes of channels with fewer mismatches than their limits. */
ALWAYS_INLINE uint16x8_t tile_below(const uint32x4_t sums[TILE_VECTORS], const int64_t *limits,
                                    const int vectors) {
    uint32x4_t below[TILE_VECTORS] = {vdupq_n_u32(0)};
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const int64x2_t mismatches = vreinterpretq_s64_u64(vpaddlq_u32(sums[v]));
        below[v] = vreinterpretq_u32_u64(vcltq_s64(mismatches, vld1q_s64(limits + 2 * v)));
    }
    const uint32x4_t low = vuzp1q_u32(below[0], below[1]), high = vuzp1q_u32(below[2], below[3]);
    return vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
}

/* Bit n: lane n of a mask. */
ALWAYS_INLINE uint64_t tile_lanes(uint16x8_t mask) {
    const uint16x8_t place = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(mask, place));
}

ALWAYS_INLINE void tile_bits_fixed(const tile *t, const tile_runs *runs, const int mode,
                                   const int rows, const int vectors, const tile_bits_out *out) {
    tile_counts counts;
    tile_mismatches(t, runs, mode, rows, vectors, &counts);
    for (int r = 0; r < rows; r++) {
        const int bits = mode == TILE_BITS ? 1 : out->bits;
        const int64_t *limits = t->level[r];
        uint16x8_t met = tile_below(counts.sums[r], limits, vectors);
        if (bits == 1) {
            tile_put(out, r, 0, tile_lanes(met));
            continue;
        }
        for (int i = 1; i < (1 << bits) - 1; i++)
            met = vaddq_u16(met, tile_below(counts.sums[r], limits + i * out->limits, vectors));
        met = vsubq_u16(vdupq_n_u16(0), met); /* each mask was minus one */
        for (int plane = 0; plane < bits; plane++)
            tile_put(out, r, plane, tile_lanes(vtstq_u16(met, vdupq_n_u16((uint16_t)(1 << plane)))));
    }
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
