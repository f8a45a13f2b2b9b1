/* Matrix product of bit rows: acc[m][n] = K - 2 * popcount(a[m] xor b[n]), or its threshold's bit. */
#include "../internal.h"

static int64_t dot(const uint64_t *a, const uint64_t *b, int64_t K) {
    int64_t mismatches = 0;
    for (int64_t k = 0; k < bnn_words(K); k++) mismatches += __builtin_popcountll(a[k] ^ b[k]);
    return K - 2 * mismatches;
}

int bnn_gemm_bit_ref(const uint64_t *a, const uint64_t *panels, int64_t M, int64_t N, int64_t K,
                     int32_t *out) {
    const int64_t words = bnn_words(K);
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BIT));
    BNN_TRY(bnn_check_tails(a, M, K));
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++)
            out[m * N + n] = (int32_t)dot(a + m * words, panels + n * words, K);
    return BNN_OK;
}

int bnn_gemm_bit_threshold_ref(const uint64_t *a, const uint64_t *panels, const bnn_limits *limits,
                               int64_t M, int64_t N, int64_t K, uint64_t *out) {
    const int64_t words = bnn_words(K);
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BIT));
    BNN_TRY(bnn_check_tails(a, M, K));
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            const int64_t acc = dot(a + m * words, panels + n * words, K);
            bnn_put_bits(out + m * bnn_words(N), n, bnn_meets_limit(acc, K, limits, n), 1);
        }
    }
    return BNN_OK;
}
