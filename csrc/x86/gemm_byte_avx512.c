/* Matrix product of bytes with AVX-512 VNNI; the meaning is ref/bytes.c. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw")
#include <stdlib.h>

#include "byte_tile_avx512.h"

#define BLOCK_ROWS 128 /* rows copied at a time; they stay in L2 while the panels pass by */

/* Rows [0, rows) of a block against all weights. */
static void gemm_block(const uint8_t *block, const int64_t *offsets, int64_t steps,
                       const int8_t *panels, const int32_t *start, int64_t rows, int64_t N,
                       int32_t *out) {
    const int64_t row_bytes = steps * STEP;
    const int64_t rows_at[TILE_ROWS] = {0, row_bytes, 2 * row_bytes, 3 * row_bytes};
    for (int64_t n = 0; n < N; n += TILE_CHANNELS)
        for (int64_t m = 0; m < rows; m += TILE_ROWS)
            byte_tile(block + m * row_bytes, rows_at, offsets, steps, panels + n * row_bytes,
                      start + n, (int)bnn_min(TILE_ROWS, rows - m), bnn_min(TILE_CHANNELS, N - n),
                      out + m * N + n, N);
}

int bnn_gemm_byte_avx512(const void *a, int a_type, const int8_t *panels, const int32_t *tap_sums,
                         int64_t M, int64_t N, int64_t K, int32_t *out) {
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BYTE));
    BNN_TRY(bnn_check_byte(a_type, 0));
    const int64_t steps = bnn_byte_steps(K), row_bytes = steps * STEP;
    uint8_t *block = calloc((size_t)(bnn_min(M, BLOCK_ROWS) * row_bytes), 1);
    int64_t *offsets = malloc((size_t)steps * sizeof *offsets);
    int32_t *start = malloc((size_t)N * sizeof *start);
    const int ready = block != NULL && offsets != NULL && start != NULL;
    for (int64_t k = 0; ready && k < steps; k++) offsets[k] = k * STEP;
    if (ready) start_sums(tap_sums, 1, N, a_type, start);
    for (int64_t m = 0; ready && m < M; m += BLOCK_ROWS) {
        const int64_t rows = bnn_min(BLOCK_ROWS, M - m);
        for (int64_t r = 0; r < rows; r++)
            copy_flipped((const uint8_t *)a + (m + r) * K, K, byte_flip(a_type),
                         block + r * row_bytes);
        gemm_block(block, offsets, steps, panels, start, rows, N, out + m * N);
    }
    free(block);
    free(offsets);
    free(start);
    return ready ? BNN_OK : BNN_ERR_MEMORY;
}

#endif
