/* Matrix product of bit rows: out[m][n] = K - 2 * popcount(a[m] xor b[n]). */
#include "../internal.h"

int bnn_gemm_bit_ref(const uint64_t *a, const uint64_t *panels, int64_t M, int64_t N, int64_t K,
                     int32_t *out) {
    const int64_t words = bnn_words(K);
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BIT));
    BNN_TRY(bnn_check_tails(a, M, K));
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            int64_t mismatches = 0;
            for (int64_t k = 0; k < words; k++)
                mismatches += __builtin_popcountll(a[m * words + k] ^ panels[n * words + k]);
            out[m * N + n] = (int32_t)(K - 2 * mismatches);
        }
    }
    return BNN_OK;
}
