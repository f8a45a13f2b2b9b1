/* Convolution of bit images with bit weights, tap by tap: sums, or their thresholds' bits. */
#include "../internal.h"

/* Dot product of one group of a pixel with one tap of a weight. */
static int64_t dot_tap(const uint64_t *pixel, const uint64_t *weight, int64_t first,
                       int64_t channels) {
    int64_t mismatches = 0;
    for (int64_t j = 0; j < bnn_words(channels); j++)
        mismatches += __builtin_popcountll(bnn_group_word(pixel, first, channels, j) ^ weight[j]);
    return channels - 2 * mismatches;
}

/* The operands of a convolution. */
typedef struct operands {
    const uint64_t *x, *weights;
    const int32_t *tap_sums;
    const bnn_conv *conv;
    int pad_value;
} operands;

/* The sum of output channel n at a position. */
static int64_t conv_point(const operands *o, bnn_position at, int64_t n) {
    const bnn_conv *conv = o->conv;
    const bnn_window *window = &conv->window;
    const int64_t N = conv->out_channels, channels = conv->channels / conv->groups;
    const int64_t taps = window->kernel_h * window->kernel_w;
    const int64_t first = n / (N / conv->groups) * channels;
    int64_t sum = 0;
    for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t pixel =
            bnn_tap_pixel(window, at, tap / window->kernel_w, tap % window->kernel_w);
        const uint64_t *weight = o->weights + (n * taps + tap) * bnn_words(channels);
        if (pixel >= 0)
            sum += dot_tap(o->x + pixel * bnn_words(conv->channels), weight, first, channels);
        else
            sum += (int64_t)o->pad_value * o->tap_sums[tap * N + n];
    }
    return sum;
}

static int check(const operands *o, int64_t *out_h, int64_t *out_w) {
    const bnn_window *window = &o->conv->window;
    BNN_TRY(bnn_check_conv(o->conv, BNN_MAX_K_BIT, out_h, out_w));
    BNN_TRY(bnn_check_pad_value(o->pad_value));
    return bnn_check_tails(o->x, window->batch * window->height * window->width,
                           o->conv->channels);
}

int bnn_conv2d_bit_ref(const uint64_t *x, const uint64_t *panels, const int32_t *tap_sums,
                       const bnn_conv *conv, int pad_value, int32_t *out) {
    const operands o = {x, panels, tap_sums, conv, pad_value};
    const int64_t N = conv->out_channels;
    int64_t out_h, out_w;
    BNN_TRY(check(&o, &out_h, &out_w));
    for (int64_t p = 0; p < conv->window.batch * out_h * out_w; p++)
        for (int64_t n = 0; n < N; n++)
            out[p * N + n] = (int32_t)conv_point(&o, bnn_position_of(p, out_h, out_w), n);
    return BNN_OK;
}

int bnn_conv2d_bit_threshold_ref(const uint64_t *x, const uint64_t *panels,
                                 const int32_t *tap_sums, const bnn_limits *limits,
                                 const bnn_conv *conv, int pad_value, uint64_t *out) {
    const operands o = {x, panels, tap_sums, conv, pad_value};
    const int64_t N = conv->out_channels, K = bnn_conv_K(conv);
    int64_t out_h, out_w;
    BNN_TRY(check(&o, &out_h, &out_w));
    for (int64_t p = 0; p < conv->window.batch * out_h * out_w; p++) {
        for (int64_t n = 0; n < N; n++) {
            const int64_t acc = conv_point(&o, bnn_position_of(p, out_h, out_w), n);
            bnn_put_bits(out + p * bnn_words(N), n, bnn_meets_limit(acc, K, limits, n), 1);
        }
    }
    return BNN_OK;
}
