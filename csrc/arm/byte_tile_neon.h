/*
 * The inner tile of the byte kernels (see ../byte_tile.h) for NEON's dot product: up to 4 rows x 16
 * output channels; SDOT multiplies signed bytes, so uint8 activations are flipped. Its form by
 * element takes the 4 activations from one lane, and no broadcast is needed. Include it inside the
 * target pragma.
 */
#ifndef BNNSIM_BYTE_TILE_NEON_H
#define BNNSIM_BYTE_TILE_NEON_H

#include <arm_neon.h>

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 4
#define BYTE_FLIPPED BNN_UINT8
#define BYTE_SHIFT -128

#include "../byte_tile.h"

ALWAYS_INLINE void byte_tile_fixed(const uint8_t *a, const int64_t *rows_at,
                                   const int64_t *offsets, int64_t steps, const int8_t *panel,
                                   const int32_t *start, const int rows, const int vectors,
                                   int64_t channels, int32_t *out, int64_t stride) {
    int32x4_t sums[TILE_ROWS][TILE_VECTORS];
    int32_t first[TILE_CHANNELS] = {0};
    memcpy(first, start, (size_t)channels * sizeof *start);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = vld1q_s32(first + v * TILE_LANES);
    for (int64_t k = 0; k < steps; k++, panel += TILE_CHANNELS * STEP) {
        int8x16_t weights[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) weights[v] = vld1q_s8(panel + v * TILE_LANES * STEP);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            uint32_t four;
            memcpy(&four, a + rows_at[r] + offsets[k], sizeof four);
            const int8x8_t values = vcreate_s8(four);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sums[r][v] = vdotq_lane_s32(sums[r][v], weights[v], values, 0);
        }
    }
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const int64_t left = channels - v * TILE_LANES;
            memcpy(out + r * stride + v * TILE_LANES, &sums[r][v],
                   (size_t)bnn_min(left, TILE_LANES) * sizeof *out);
        }
}

BYTE_TILE(BYTE_TILE_CASES(1) BYTE_TILE_CASES(2) BYTE_TILE_CASES(3) BYTE_TILE_CASES(4))

#endif
