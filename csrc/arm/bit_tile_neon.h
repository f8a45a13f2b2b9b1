/*
 * The inner tile of the bit kernels (see ../bit_tile.h) for NEON: up to 4 rows x 8 output channels,
 * one channel per 64-bit lane. CNT counts the bits of each byte, so 128 bits cost EOR, CNT, ADD; a
 * byte holds 31 words of at most 8 bits, over as many runs as they span, before it is widened.
 * Nothing is summed across lanes until one pairwise add per 4 results. docs/kernels.md has the
 * instruction counts and why the tile has this shape.
 */
#ifndef BNNSIM_BIT_TILE_NEON_H
#define BNNSIM_BIT_TILE_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "../bit_tile.h"

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 2
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

/* Add the mismatches of successive words of a run; row r starts at a + starts[r]. */
ALWAYS_INLINE void tile_words(const uint64_t *a, const int64_t *starts, int64_t words,
                              const uint64_t *panel, const int rows, const int vectors,
                              tile_counts *counts) {
    const uint64_t *row[TILE_ROWS];
    for (int r = 0; r < rows; r++) row[r] = a + starts[r];
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

/* Store K - 2 * mismatches of `channels` channels; 2 * mismatches may wrap, the result never. */
ALWAYS_INLINE void tile_store(const tile_counts *counts, int64_t K, const int rows,
                              const int vectors, int64_t channels, int32_t *out, int64_t stride) {
    const uint32x4_t full = vdupq_n_u32((uint32_t)K);
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v += 2) {
            const uint32x4_t next = v + 1 < vectors ? counts->sums[r][v + 1] : vdupq_n_u32(0);
            const uint32x4_t mismatches = vpaddq_u32(counts->sums[r][v], next);
            const int32x4_t acc =
                vreinterpretq_s32_u32(vsubq_u32(full, vshlq_n_u32(mismatches, 1)));
            const int64_t left = channels - v * TILE_LANES;
            if (left >= 4)
                vst1q_s32(out + r * stride + v * TILE_LANES, acc);
            else
                memcpy(out + r * stride + v * TILE_LANES, &acc, (size_t)left * sizeof *out);
        }
    }
}

ALWAYS_INLINE void tile_fixed(const uint64_t *a, const int64_t *starts, const tile_runs *runs,
                              const uint64_t *panel, int64_t K, const int rows, const int vectors,
                              int64_t channels, int32_t *out, int64_t stride) {
    tile_counts counts = {0};
    int64_t held = 0; /* words that the bytes count */
    for (int64_t o = 0; o < runs->outer; o++) {
        for (int64_t i = 0; i < runs->inner; i++) {
            const uint64_t *run = a + o * runs->outer_stride + i * runs->inner_stride;
            for (int64_t k = 0, words; k < runs->words; k += words) {
                words = bnn_min(WORDS_PER_BYTE - held, runs->words - k);
                tile_words(run + k, starts, words, panel, rows, vectors, &counts);
                panel += words * TILE_CHANNELS;
                held += words;
                if (held < WORDS_PER_BYTE) continue;
                tile_widen(rows, vectors, &counts);
                held = 0;
            }
        }
    }
    tile_widen(rows, vectors, &counts);
    tile_store(&counts, K, rows, vectors, channels, out, stride);
}

TILE_BIT(TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4))

#endif
