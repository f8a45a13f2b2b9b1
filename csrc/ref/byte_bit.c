/* Bytes, each standing for an integer of a map, x bit weights. */
#include "../internal.h"

static int check(const int16_t *map, const bnn_conv *conv, int32_t pad_value, int64_t *out_h,
                 int64_t *out_w) {
    int outside = pad_value > BNN_MAX_LOOKUP || pad_value < -BNN_MAX_LOOKUP;
    for (int i = 0; i < 256; i++) outside |= map[i] > BNN_MAX_LOOKUP || map[i] < -BNN_MAX_LOOKUP;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_LOOKUP, out_h, out_w));
    return outside ? BNN_ERR_VALUE : BNN_OK;
}

static int32_t sum_bytes(const uint8_t *x, const int16_t *map, const uint64_t *panels,
                         const bnn_conv *conv, int32_t pad_value, bnn_position at, int64_t n) {
    const int64_t K = bnn_conv_K(conv);
    int32_t sum = 0;
    for (int64_t k = 0; k < K; k++) {
        const int64_t place = bnn_value_at(conv, at, n, k);
        const int32_t value = place < 0 ? pad_value : map[x[place]];
        sum += bnn_is_plus(panels, n, K, k) ? value : -value;
    }
    return sum;
}

int bnn_byte_bit_ref(const uint8_t *x, const int16_t *map, const uint64_t *panels,
                     const bnn_conv *conv, int32_t pad_value, int32_t *out) {
    const int64_t N = conv->out_channels;
    int64_t out_h, out_w;
    BNN_TRY(check(map, conv, pad_value, &out_h, &out_w));
    for (int64_t i = 0; i < conv->window.batch * out_h * out_w * N; i++)
        out[i] = sum_bytes(x, map, panels, conv, pad_value, bnn_position_of(i / N, out_h, out_w),
                           i % N);
    return BNN_OK;
}

int bnn_byte_bit_threshold_ref(const uint8_t *x, const int16_t *map, const uint64_t *panels,
                               const bnn_limits *limits, const bnn_conv *conv, int32_t pad_value,
                               uint64_t *out) {
    const int64_t N = conv->out_channels, K = bnn_conv_K(conv);
    int64_t out_h, out_w;
    BNN_TRY(check(map, conv, pad_value, &out_h, &out_w));
    for (int64_t i = 0; i < conv->window.batch * out_h * out_w * N; i++) {
        const int32_t sum = sum_bytes(x, map, panels, conv, pad_value,
                                      bnn_position_of(i / N, out_h, out_w), i % N);
        bnn_put_bits(out + i / N * bnn_words(N), i % N, bnn_meets_limit(sum, K, limits, i % N), 1);
    }
    return BNN_OK;
}
