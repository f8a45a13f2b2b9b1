/* Cases that random values do not reach: full counters, the ends of number ranges, refusals. */
#ifndef BNNSIM_EDGES_H
#define BNNSIM_EDGES_H

#include <math.h>

#include "naive.h"

/* All K inputs +1 against all weights -1 over more words than a byte can count: every result -K. */
static int gemm_counts_all(const bnn_kernel *kernel, int64_t words) {
    const int64_t M = 5, N = 9, K = 64 * words - 1;
    uint64_t *a = fresh(M * words, 8), *w = fresh(N * words, 8);
    uint64_t *panels = fresh(bnn_panel_words(N, words, kernel->tile_n), 8);
    int32_t *out = fresh(M * N, sizeof *out);
    int right = 1;
    memset(a, 0xff, (size_t)(M * words) * 8);
    for (int64_t m = 0; m < M; m++) a[m * words + words - 1] >>= 1;
    bnn_pack_panels(w, N, words, kernel->tile_n, panels);
    right &= ((bnn_gemm_bit_fn *)kernel->function)(a, panels, M, N, K, out) == BNN_OK;
    for (int64_t i = 0; i < M * N; i++) right &= out[i] == -K;
    a[words - 1] = UINT64_MAX;
    right &= ((bnn_gemm_bit_fn *)kernel->function)(a, panels, M, N, K, out) == BNN_ERR_TAIL;
    free(a), free(w), free(panels), free(out);
    return right;
}

/* The same against the thresholds that just let -K pass or not, both ways, and their ends. */
static int limits_count_all(const bnn_kernel *kernel, int64_t words) {
    enum { N = 6 };
    const int64_t K = 64 * words;
    const int32_t k = (int32_t)K, t[N] = {-k, 1 - k, -k, -k - 1, INT32_MIN, INT32_MAX};
    const int8_t direction[N] = {1, 1, -1, -1, 1, -1};
    const uint64_t met = 0x35; /* channels 0, 2, 4, 5 */
    uint64_t *a = fresh(5 * words, 8), *w = fresh(N * words, 8), flips, out[5];
    uint64_t *panels = fresh(bnn_panel_words(N, words, kernel->tile_n), 8);
    int64_t margins[N];
    const bnn_limits limits = {margins, &flips, 1, N, 0};
    memset(a, 0xff, (size_t)(5 * words) * 8);
    bnn_pack_panels(w, N, words, kernel->tile_n, panels);
    int right = bnn_pack_limits(t, direction, N, K, margins, &flips) == BNN_OK;
    right &= ((bnn_gemm_bit_threshold_fn *)kernel->function)(a, panels, &limits, 5, N, K, out) ==
             BNN_OK;
    for (int m = 0; m < 5; m++) right &= out[m] == met;
    free(a), free(w), free(panels);
    return right;
}

/* The same sums for a 3 x 3 window, whose rows (or taps, where dilated) are runs of their own. */
static int conv_counts_all(const bnn_kernel *kernel, int64_t words, int64_t dilation) {
    const int64_t N = 9, side = 2 * dilation + 2, pixels = side * side * words;
    const bnn_conv conv = {{1, side, side, 3, 3, 1, 1, dilation, dilation, 0, 0, 0, 0}, 64 * words,
                           N, 1};
    uint64_t *x = fresh(pixels, 8), *w = fresh(N * 9 * words, 8);
    uint64_t *panels = fresh(bnn_panel_words(N, 9 * words, kernel->tile_n), 8);
    int32_t *out = fresh(4 * N, sizeof *out), *sums = fresh(9 * N, sizeof *sums);
    bnn_conv2d_bit_fn *function = (bnn_conv2d_bit_fn *)kernel->function;
    memset(x, 0xff, (size_t)pixels * 8);
    bnn_pack_panels(w, N, 9 * words, kernel->tile_n, panels);
    bnn_tap_sums(w, N, 9, 64 * words, sums);
    int right = function(x, panels, sums, &conv, -1, out) == BNN_OK;
    for (int64_t i = 0; i < 4 * N; i++) right &= out[i] == -64 * 9 * words;
    right &= function(x, panels, sums, &conv, 2, out) == BNN_ERR_PAD_VALUE;
    free(x), free(w), free(panels), free(out), free(sums);
    return right;
}

/* Sums and thresholds at the ends of int32 meet in every lane, both ways. */
static int thresholds_at_the_ends(const bnn_kernel *kernel) {
    static const int32_t ends[] = {INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX};
    enum { C = 49 + 64 }; /* every pair of ends in a whole and in an unfinished word */
    int32_t acc[C], t[C];
    int8_t up[C], down[C];
    uint64_t bits[2], expected[2];
    bnn_threshold_pack_fn *function = (bnn_threshold_pack_fn *)kernel->function;
    int right = 1;
    for (int i = 0; i < C; i++)
        acc[i] = ends[i % 7], t[i] = ends[i / 7 % 7], up[i] = 1, down[i] = -1;
    for (int way = 0; way < 2; way++) {
        memset(expected, 0, sizeof expected);
        for (int i = 0; i < C; i++)
            expected[i / 64] |= (uint64_t)(way ? acc[i] <= t[i] : acc[i] >= t[i]) << (i % 64);
        right &= function(acc, t, way ? down : up, 1, C, bits) == BNN_OK;
        right &= !memcmp(bits, expected, sizeof bits);
    }
    down[C - 1] = 0;
    return right && function(acc, t, down, 1, C, bits) == BNN_ERR_VALUE;
}

/* Signs of zeros, of the smallest and largest numbers; NaN is refused in any lane. */
static int signs_at_the_ends(const bnn_kernel *kernel) {
    static const float floats[] = {0.0f, -0.0f, 1e-45f, -1e-45f, INFINITY, -INFINITY, -1.5f};
    static const int32_t ints[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT32_MIN + 1, 65536};
    static const int8_t bytes[] = {0, 1, -1, INT8_MAX, INT8_MIN, INT8_MIN + 1, 64};
    enum { C = 97 };
    float f[C];
    int32_t n[C];
    int8_t b[C];
    uint64_t bits[2], expected[3][2] = {{0}};
    bnn_pack_sign_fn *function = (bnn_pack_sign_fn *)kernel->function;
    int right = 1;
    for (int i = 0; i < C; i++) {
        f[i] = floats[i % 7], n[i] = ints[i % 7], b[i] = bytes[i % 7];
        expected[0][i / 64] |= (uint64_t)(f[i] >= 0.0f) << (i % 64);
        expected[1][i / 64] |= (uint64_t)(n[i] >= 0) << (i % 64);
        expected[2][i / 64] |= (uint64_t)(b[i] >= 0) << (i % 64);
    }
    right &= function(f, BNN_FLOAT32, 1, C, bits) == BNN_OK && !memcmp(bits, expected[0], 16);
    right &= function(n, BNN_INT32, 1, C, bits) == BNN_OK && !memcmp(bits, expected[1], 16);
    right &= function(b, BNN_INT8, 1, C, bits) == BNN_OK && !memcmp(bits, expected[2], 16);
    right &= function(b, BNN_UINT8, 1, C, bits) == BNN_ERR_DTYPE;
    for (int i = 0; i < C; i++) {
        const float kept = f[i];
        f[i] = NAN;
        right &= function(f, BNN_FLOAT32, 1, C, bits) == BNN_ERR_NAN;
        f[i] = kept;
    }
    return right;
}

/* The longest product of the largest bytes: sums that only just fit int32. */
static int bytes_at_the_ends(const bnn_kernel *kernel) {
    const int64_t K = BNN_MAX_K_BYTE, N = 3;
    uint8_t *a = fresh(K, 1);
    int8_t *w = fresh(N * K, 1);
    int8_t *panels = fresh(bnn_byte_panel_size(N, 1, K, kernel->tile_n), 1);
    int32_t sums[3], out[3];
    bnn_gemm_byte_fn *function = (bnn_gemm_byte_fn *)kernel->function;
    memset(w, -128, (size_t)K), memset(w + K, 127, (size_t)K);
    bnn_pack_byte_panels(w, N, 1, K, kernel->tile_n, panels);
    bnn_byte_tap_sums(w, N, 1, K, sums);
    memset(a, 255, (size_t)K);
    int right = function(a, BNN_UINT8, panels, sums, 1, N, K, out) == BNN_OK;
    right &= out[0] == -128 * 255 * K && out[1] == 127 * 255 * K && out[2] == 0;
    memset(a, -128, (size_t)K);
    right &= function(a, BNN_INT8, panels, sums, 1, N, K, out) == BNN_OK;
    right &= out[0] == 128 * 128 * K && out[1] == -128 * 127 * K && out[2] == 0;
    right &= function(a, BNN_INT16, panels, sums, 1, N, K, out) == BNN_ERR_DTYPE;
    free(a), free(w), free(panels);
    return right;
}

/* Every weight +1 or -1 on the largest values: 16-bit sums that only just fit; over K values, which
 * may be more than a kernel makes tables of at once. */
static int lookups_at_the_ends(const bnn_kernel *kernel, int64_t K) {
    enum { M = 37, N = 130 };
    const bnn_conv conv = {{M, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, K, N, 1};
    int16_t map[256] = {BNN_MAX_LOOKUP, -BNN_MAX_LOOKUP};
    uint64_t *w = fresh(N * bnn_words(K), 8);
    uint64_t *panels = fresh(bnn_panel_words(N, bnn_words(K), kernel->tile_n), 8);
    uint8_t *x = fresh(M * K, 1);
    int32_t *out = fresh(M * N, sizeof *out);
    int right = 1;
    for (int64_t n = 0; n < N; n += 3) /* all +1 */
        for (int64_t k = 0; k < K; k++)
            w[n * bnn_words(K) + k / 64] |= UINT64_C(1) << (k % 64);
    bnn_pack_panels(w, N, bnn_words(K), kernel->tile_n, panels);
    for (int64_t m = 1; m < M; m += 2) memset(x + m * K, 1, (size_t)K);
    right &= ((bnn_byte_bit_fn *)kernel->function)(x, map, panels, &conv, 0, out) == BNN_OK;
    for (int64_t i = 0; i < M * N; i++)
        right &= out[i] == (i / N % 2 == (i % N % 3 != 0) ? K : -K) * BNN_MAX_LOOKUP;
    free(w), free(panels), free(x), free(out);
    return right;
}

/* The edge cases of a kernel's op; 1 where all of them come out right. */
static int edges_hold(const bnn_kernel *kernel) {
    int right = 1;
    if (kernel->op_id == BNN_OP_threshold_pack) return thresholds_at_the_ends(kernel);
    if (kernel->op_id == BNN_OP_gemm_byte) return bytes_at_the_ends(kernel);
    if (kernel->op_id == BNN_OP_byte_bit)
        return lookups_at_the_ends(kernel, 200) && lookups_at_the_ends(kernel, 2100);
    if (kernel->op_id == BNN_OP_pack_sign) return signs_at_the_ends(kernel);
    for (int64_t words = 29; words <= 97; words += words < 35 ? 1 : 31)
        if (kernel->op_id == BNN_OP_gemm_bit)
            right &= gemm_counts_all(kernel, words);
        else if (kernel->op_id == BNN_OP_gemm_bit_threshold)
            right &= limits_count_all(kernel, words);
    for (int64_t words = 1; words <= 40; words += words < 12 ? 1 : 7)
        if (kernel->op_id == BNN_OP_conv2d_bit)
            right &= conv_counts_all(kernel, words, 1) && conv_counts_all(kernel, words, 2);
    return right;
}

#endif
