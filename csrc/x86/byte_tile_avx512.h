/*
 * The inner tile of the byte kernels (see ../byte_tile.h) for AVX-512 VNNI: up to 4 rows x 64
 * output channels; vpdpbusd multiplies 4 unsigned by 4 signed bytes, so int8 activations are
 * flipped. Include it inside the target pragma.
 */
#ifndef BNNSIM_BYTE_TILE_AVX512_H
#define BNNSIM_BYTE_TILE_AVX512_H

#include <immintrin.h>

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 16
#define BYTE_FLIPPED BNN_INT8
#define BYTE_SHIFT 128

#include "../byte_tile.h"

ALWAYS_INLINE void byte_tile_fixed(const uint8_t *a, const int64_t *rows_at,
                                   const int64_t *offsets, int64_t steps, const int8_t *panel,
                                   const int32_t *start, const int rows, const int vectors,
                                   int64_t channels, int32_t *out, int64_t out_stride) {
    __m512i sums[TILE_ROWS][TILE_VECTORS];
    const uint8_t *row[TILE_ROWS];
    __mmask16 lanes[TILE_VECTORS];
    for (int v = 0; v < vectors; v++) {
        const int64_t left = channels - v * TILE_LANES;
        lanes[v] = left >= TILE_LANES ? 0xffff : (__mmask16)((1u << left) - 1);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        row[r] = a + rows_at[r];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[r][v] = _mm512_maskz_loadu_epi32(lanes[v], start + v * TILE_LANES);
    }
    for (int64_t k = 0; k < steps; k++, panel += TILE_CHANNELS * STEP) {
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, row[r] + offsets[k], sizeof four);
            const __m512i values = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sums[r][v] = _mm512_dpbusd_epi32(
                    sums[r][v], values, _mm512_loadu_si512(panel + v * TILE_LANES * STEP));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            _mm512_mask_storeu_epi32(out + r * out_stride + v * TILE_LANES, lanes[v], sums[r][v]);
}

BYTE_TILE(BYTE_TILE_CASES(1) BYTE_TILE_CASES(2) BYTE_TILE_CASES(3) BYTE_TILE_CASES(4))

#endif
