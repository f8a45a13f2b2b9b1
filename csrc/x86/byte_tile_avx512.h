/*
 * The inner tile of the byte kernels: up to 4 rows x 64 output channels, one per 32-bit lane;
 * vpdpbusd multiplies 4 unsigned by 4 signed bytes and adds the products to a lane. Include it
 * inside the target pragma of AVX-512 VNNI.
 *
 * Activations are copied before with int8 moved up by 128 (x xor 0x80), and every sum starts at
 * -128 * (sum of the channel's weights), which takes that back. Sums wrap modulo 2^32 on the way
 * and are exact at the end, since K <= BNN_MAX_K_BYTE keeps the result within int32.
 */
#ifndef BNNSIM_BYTE_TILE_AVX512_H
#define BNNSIM_BYTE_TILE_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "../internal.h"

#define TILE_ROWS 4
#define TILE_VECTORS 4
#define TILE_LANES 16
#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)
#define STEP 4
#define SLACK 3 /* a step may read so far past its values, times zero weights */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* What an activation type adds to reach 0..255. */
static inline uint8_t byte_flip(int type) { return type == BNN_INT8 ? 0x80 : 0; }

static inline void copy_flipped(const uint8_t *from, int64_t count, uint8_t flip, uint8_t *to) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i] ^ flip;
}

/* Where each sum starts: 0 for uint8, -128 * (sum of the channel's weights) for int8. */
static inline void start_sums(const int32_t *tap_sums, int64_t taps, int64_t N, int type,
                              int32_t *start) {
    memset(start, 0, (size_t)N * sizeof *start);
    if (type != BNN_INT8) return;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t n = 0; n < N; n++)
            start[n] = (int32_t)((uint32_t)start[n] - 128u * (uint32_t)tap_sums[tap * N + n]);
}

/* Row r reads its step k at a + rows_at[r] + offsets[k]. */
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

/* One tile of 1 to 4 rows x 1 to 64 channels. */
static inline void byte_tile(const uint8_t *a, const int64_t *rows_at, const int64_t *offsets,
                             int64_t steps, const int8_t *panel, const int32_t *start, int rows,
                             int64_t channels, int32_t *out, int64_t stride) {
    const int vectors = (int)((channels + TILE_LANES - 1) / TILE_LANES);
#define TILE_CASE(r, v)                                                                            \
    case (r) * 8 + (v):                                                                            \
        byte_tile_fixed(a, rows_at, offsets, steps, panel, start, r, v, channels, out, stride);    \
        break;
#define TILE_CASES(r) TILE_CASE(r, 1) TILE_CASE(r, 2) TILE_CASE(r, 3) TILE_CASE(r, 4)
    switch (rows * 8 + vectors) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) }
#undef TILE_CASES
#undef TILE_CASE
}

#endif
