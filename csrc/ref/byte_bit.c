/* Bytes, each standing for an integer of a map, x bit weights; and float32 x bit weights. */
#include "../internal.h"

/* Is weight k of output channel n +1? Panels with tile_n = 1 are rows of words(K). */
static int is_plus(const uint64_t *panels, int64_t n, int64_t K, int64_t k) {
    return (int)(panels[n * bnn_words(K) + k / BNN_WORD_BITS] >> (k % BNN_WORD_BITS) & 1);
}

/* The place in x of value k of output channel n at a position, or -1 outside the image. */
static int64_t value_at(const bnn_conv *conv, bnn_position at, int64_t n, int64_t k) {
    const bnn_window *w = &conv->window;
    const int64_t channels = conv->channels / conv->groups, tap = k / channels;
    const int64_t group = n / (conv->out_channels / conv->groups);
    const int64_t pixel = bnn_tap_pixel(w, at, tap / w->kernel_w, tap % w->kernel_w);
    return pixel < 0 ? -1 : pixel * conv->channels + group * channels + k % channels;
}

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
        const int64_t place = value_at(conv, at, n, k);
        const int32_t value = place < 0 ? pad_value : map[x[place]];
        sum += is_plus(panels, n, K, k) ? value : -value;
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

int bnn_float_bit_ref(const float *x, const uint64_t *panels, const bnn_conv *conv, float pad_value,
                      int out_type, void *out) {
    const int64_t N = conv->out_channels, K = bnn_conv_K(conv);
    int64_t out_h, out_w;
    if (out_type != BNN_FLOAT32 && out_type != BNN_FLOAT64) return BNN_ERR_DTYPE;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_LOOKUP, &out_h, &out_w));
    for (int64_t i = 0; i < conv->window.batch * out_h * out_w * N; i++) {
        const bnn_position at = bnn_position_of(i / N, out_h, out_w);
        double sum = 0.0;
        for (int64_t k = 0; k < K; k++) {
            const int64_t place = value_at(conv, at, i % N, k);
            const double value = (double)(place < 0 ? pad_value : x[place]);
            sum += is_plus(panels, i % N, K, k) ? value : -value;
        }
        if (out_type == BNN_FLOAT64)
            ((double *)out)[i] = sum;
        else
            ((float *)out)[i] = (float)sum;
    }
    return BNN_OK;
}
