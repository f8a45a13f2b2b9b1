/*
 * What the inner tiles of the byte kernels share: a few rows (of a matrix, or output pixels) x a
 * panel of output channels, one channel per 32-bit lane; a step multiplies 4 activations by 4
 * weights and adds the products to the lane.
 *
 * The instructions take activations of one signedness. Those of BYTE_FLIPPED type are copied with
 * the top bit turned, which adds BYTE_SHIFT (128 or -128) to each, and every sum starts at
 * -BYTE_SHIFT * (sum of the channel's weights), which takes that back. Sums wrap modulo 2^32 on the
 * way and are exact at the end, since K <= BNN_MAX_K_BYTE keeps the result within int32.
 *
 * Each instruction set defines TILE_ROWS, TILE_VECTORS (4), TILE_LANES (channels per vector), these
 * two, and byte_tile_fixed, which takes the numbers of rows and vectors as constants.
 */
#ifndef BNNSIM_BYTE_TILE_H
#define BNNSIM_BYTE_TILE_H

#include <string.h>

#include "internal.h"

#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)
#define STEP 4
#define SLACK 3 /* a step may read so far past its values, times zero weights */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* What is turned in each activation of a type. */
static inline uint8_t byte_flip(int type) { return type == BYTE_FLIPPED ? 0x80 : 0; }

static inline void copy_flipped(const uint8_t *from, int64_t count, uint8_t flip, uint8_t *to) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i] ^ flip;
}

/* Where each sum starts: -BYTE_SHIFT * (sum of the channel's weights) where bytes are flipped. */
static inline void start_sums(const int32_t *tap_sums, int64_t taps, int64_t N, int type,
                              int32_t *start) {
    const uint32_t factor = 0u - (uint32_t)BYTE_SHIFT;
    memset(start, 0, (size_t)N * sizeof *start);
    if (type != BYTE_FLIPPED) return;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t n = 0; n < N; n++)
            start[n] = (int32_t)((uint32_t)start[n] + factor * (uint32_t)tap_sums[tap * N + n]);
}

#define BYTE_TILE_CASE(r, v)                                                                       \
    case (r) * 8 + (v):                                                                            \
        byte_tile_fixed(a, rows_at, offsets, steps, panel, start, r, v, channels, out, stride);    \
        break;
#define BYTE_TILE_CASES(r)                                                                         \
    BYTE_TILE_CASE(r, 1) BYTE_TILE_CASE(r, 2) BYTE_TILE_CASE(r, 3) BYTE_TILE_CASE(r, 4)

/* Define byte_tile: one tile of 1 to TILE_ROWS rows and 1 to TILE_CHANNELS channels; row r reads
 * its step k at a + rows_at[r] + offsets[k], out rows are `stride` apart. */
#define BYTE_TILE(cases)                                                                           \
    static inline void byte_tile(const uint8_t *a, const int64_t *rows_at, const int64_t *offsets, \
                                 int64_t steps, const int8_t *panel, const int32_t *start,         \
                                 int rows, int64_t channels, int32_t *out, int64_t stride) {       \
        const int vectors = (int)((channels + TILE_LANES - 1) / TILE_LANES);                       \
        switch (rows * 8 + vectors) { cases }                                                      \
    }

#endif
