/*
 * The inner tile of the byte kernels (see ../byte_tile.h) for AVX2: up to 4 rows x 16 output
 * channels. Bytes are widened to int16, so that vpmaddwd adds two products exactly (vpmaddubsw
 * would saturate); a register holds two partial sums of each of 4 channels, added at the end.
 * Include it inside the target pragma.
 */
#ifndef BNNSIM_BYTE_TILE_AVX2_H
#define BNNSIM_BYTE_TILE_AVX2_H

#include <immintrin.h>

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 4
#define BYTE_FLIPPED BNN_INT8
#define BYTE_SHIFT 128

#include "../byte_tile.h"

/* One or two rows: the sums of more would not stay in registers. */
ALWAYS_INLINE void byte_rows(const uint8_t *a, const int64_t *rows_at, const int64_t *offsets,
                             int64_t steps, const int8_t *panel, const int32_t *start,
                             const int rows, const int vectors, int64_t channels, int32_t *out,
                             int64_t stride) {
    __m256i sums[2][TILE_VECTORS];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm256_setzero_si256();
    for (int64_t k = 0; k < steps; k++, panel += TILE_CHANNELS * STEP) {
        __m256i values[2];
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, a + rows_at[r] + offsets[k], sizeof four);
            values[r] = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const __m256i weights = _mm256_cvtepi8_epi16(
                _mm_loadu_si128((const void *)(panel + v * TILE_LANES * STEP)));
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++)
                sums[r][v] =
                    _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(weights, values[r]));
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        uint32_t halves[2 * TILE_CHANNELS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            _mm256_storeu_si256((void *)(halves + 2 * v * TILE_LANES), sums[r][v]);
        for (int64_t c = 0; c < channels; c++)
            out[r * stride + c] =
                (int32_t)((uint32_t)start[c] + halves[2 * c] + halves[2 * c + 1]);
    }
}

ALWAYS_INLINE void byte_tile_fixed(const uint8_t *a, const int64_t *rows_at,
                                   const int64_t *offsets, int64_t steps, const int8_t *panel,
                                   const int32_t *start, const int rows, const int vectors,
                                   int64_t channels, int32_t *out, int64_t stride) {
    byte_rows(a, rows_at, offsets, steps, panel, start, rows > 2 ? 2 : rows, vectors, channels, out,
              stride);
    if (rows > 2)
        byte_rows(a, rows_at + 2, offsets, steps, panel, start, rows - 2, vectors, channels,
                  out + 2 * stride, stride);
}

BYTE_TILE(BYTE_TILE_CASES(1) BYTE_TILE_CASES(2) BYTE_TILE_CASES(3) BYTE_TILE_CASES(4))

#endif
