/*
 * Integer activations (uint8, int8, int16, int32) x int8 or bit weights, exact in int64.
 * A pad value is any int32, so |sum| <= 2^31 * 2^7 * 2^24 = 2^62 for every K up to BNN_MAX_K_INT.
 */
#include <stddef.h>

#include "../internal.h"

/* Exactly one of the two is set. */
typedef struct weights {
    const int8_t *ints;
    const uint64_t *bits;
} weights;

static inline int fits_int32(int64_t value) { return value >= INT32_MIN && value <= INT32_MAX; }

/* Row `row` of weights with `K` elements per row. */
static inline weights weights_row(weights w, int64_t row, int64_t K) {
    if (w.bits) return (weights){NULL, w.bits + row * bnn_words(K)};
    return (weights){w.ints + row * K, NULL};
}

static inline int64_t weights_sum(weights row, int64_t K) {
    int64_t sum = 0;
    if (row.bits) {
        for (int64_t j = 0; j < bnn_words(K); j++) sum += 2 * __builtin_popcountll(row.bits[j]);
        return sum - K;
    }
    for (int64_t k = 0; k < K; k++) sum += row.ints[k];
    return sum;
}

#define CHUNK 32768 /* 255 * 128 * 2^15 < 2^31 */

#define ACT uint8_t
#define PARTIAL int32_t
#define NAME(function) function##_uint8
#include "int_kernels.inc"

#define ACT int8_t
#define PARTIAL int32_t
#define NAME(function) function##_int8
#include "int_kernels.inc"

#define ACT int16_t
#define PARTIAL int64_t
#define NAME(function) function##_int16
#include "int_kernels.inc"

#define ACT int32_t
#define PARTIAL int64_t
#define NAME(function) function##_int32
#include "int_kernels.inc"

static int gemm(const void *a, int a_type, weights b, int64_t M, int64_t N, int64_t K,
                int32_t *out) {
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_INT));
    switch (a_type) {
    case BNN_UINT8: return gemm_uint8(a, b, M, N, K, out);
    case BNN_INT8: return gemm_int8(a, b, M, N, K, out);
    case BNN_INT16: return gemm_int16(a, b, M, N, K, out);
    case BNN_INT32: return gemm_int32(a, b, M, N, K, out);
    default: return BNN_ERR_DTYPE;
    }
}

static int conv2d(const void *x, int x_type, weights w, const bnn_conv *conv, int32_t pad_value,
                  int32_t *out) {
    int64_t h, v;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_INT, &h, &v));
    const int64_t positions = conv->window.batch * h * v;
    switch (x_type) {
    case BNN_UINT8: return conv2d_uint8(x, w, conv, pad_value, positions, h, v, out);
    case BNN_INT8: return conv2d_int8(x, w, conv, pad_value, positions, h, v, out);
    case BNN_INT16: return conv2d_int16(x, w, conv, pad_value, positions, h, v, out);
    case BNN_INT32: return conv2d_int32(x, w, conv, pad_value, positions, h, v, out);
    default: return BNN_ERR_DTYPE;
    }
}

int bnn_gemm_int_ref(const void *a, int a_type, const int8_t *b, int64_t M, int64_t N, int64_t K,
                     int32_t *out) {
    return gemm(a, a_type, (weights){b, NULL}, M, N, K, out);
}

int bnn_gemm_int_bit_ref(const void *a, int a_type, const uint64_t *b, int64_t M, int64_t N,
                         int64_t K, int32_t *out) {
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_INT));
    BNN_TRY(bnn_check_tails(b, N, K));
    return gemm(a, a_type, (weights){NULL, b}, M, N, K, out);
}

int bnn_conv2d_int_ref(const void *x, int x_type, const int8_t *w, const bnn_conv *conv,
                       int32_t pad_value, int32_t *out) {
    return conv2d(x, x_type, (weights){w, NULL}, conv, pad_value, out);
}

int bnn_conv2d_int_bit_ref(const void *x, int x_type, const uint64_t *w, const bnn_conv *conv,
                           int32_t pad_value, int32_t *out) {
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_INT, &out_h, &out_w));
    const int64_t rows = conv->out_channels * conv->window.kernel_h * conv->window.kernel_w;
    BNN_TRY(bnn_check_tails(w, rows, conv->channels / conv->groups));
    return conv2d(x, x_type, (weights){NULL, w}, conv, pad_value, out);
}
