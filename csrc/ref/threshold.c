/* Integer thresholds: accumulators to packed bits, or to k-bit levels. */
#include <string.h>

#include "../internal.h"

static inline uint64_t meets(int32_t acc, int32_t t, int8_t direction) {
    return direction > 0 ? acc >= t : acc <= t;
}

int bnn_threshold_pack_ref(const int32_t *acc, const int32_t *t, const int8_t *direction, int64_t P,
                           int64_t C, uint64_t *out) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_directions(direction, C));
    memset(out, 0, (size_t)(P * words) * sizeof *out);
    for (int64_t p = 0; p < P; p++) {
        for (int64_t c = 0; c < C; c++) {
            const uint64_t met = meets(acc[p * C + c], t[c], direction[c]);
            out[p * words + c / BNN_WORD_BITS] |= met << (c % BNN_WORD_BITS);
        }
    }
    return BNN_OK;
}

int bnn_multi_threshold_ref(const int32_t *acc, const int32_t *t, const int8_t *direction,
                            int64_t P, int64_t C, int64_t n, int base, int8_t *out) {
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_size(C, n, 1, 1));
    BNN_TRY(bnn_check_directions(direction, C));
    if (base < INT8_MIN || base + n > INT8_MAX) return BNN_ERR_OVERFLOW;
    for (int64_t p = 0; p < P; p++) {
        for (int64_t c = 0; c < C; c++) {
            int64_t level = base;
            for (int64_t i = 0; i < n; i++)
                level += (int64_t)meets(acc[p * C + c], t[c * n + i], direction[c]);
            out[p * C + c] = (int8_t)level;
        }
    }
    return BNN_OK;
}
