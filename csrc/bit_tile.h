/*
 * What the inner tiles of the bit kernels share. A tile is a few rows x a panel of output channels.
 *
 * A row is a row of a matrix or an output pixel: `outer` x `inner` runs of `words` contiguous words
 * (one run for a matrix product; one per kernel row, or per tap where dilated, for a convolution),
 * at the same offsets from the start of each row. Panels are [word][TILE_CHANNELS]. Each
 * instruction set defines TILE_ROWS, TILE_VECTORS (4), TILE_LANES (channels per vector) and
 * tile_fixed, which takes the numbers of rows and vectors as constants.
 */
#ifndef BNNSIM_BIT_TILE_H
#define BNNSIM_BIT_TILE_H

#include "internal.h"

#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef struct tile_runs {
    int64_t outer, outer_stride, inner, inner_stride, words;
} tile_runs;

#define TILE_CASE(r, v)                                                                            \
    case (r) * 8 + (v): tile_fixed(a, starts, runs, panel, K, r, v, channels, out, stride); break;
#define TILE_CASES(r) TILE_CASE(r, 1) TILE_CASE(r, 2) TILE_CASE(r, 3) TILE_CASE(r, 4)

/* Define tile_bit: one tile of 1 to TILE_ROWS rows and 1 to TILE_CHANNELS channels; row r starts at
 * a + starts[r], out rows are `stride` apart. */
#define TILE_BIT(cases)                                                                            \
    static inline void tile_bit(const uint64_t *a, const int64_t *starts, const tile_runs *runs,   \
                                const uint64_t *panel, int64_t K, int rows, int64_t channels,      \
                                int32_t *out, int64_t stride) {                                    \
        const int vectors = (int)((channels + TILE_LANES - 1) / TILE_LANES);                       \
        switch (rows * 8 + vectors) { cases }                                                      \
    }

#endif
