/* Convolution of bit images with bit weights, tap by tap. */
#include "../internal.h"

/* Dot product of one group of a pixel with one tap of a weight. */
static int64_t dot_tap(const uint64_t *pixel, const uint64_t *weight, int64_t first,
                       int64_t channels) {
    int64_t mismatches = 0;
    for (int64_t j = 0; j < bnn_words(channels); j++)
        mismatches += __builtin_popcountll(bnn_group_word(pixel, first, channels, j) ^ weight[j]);
    return channels - 2 * mismatches;
}

int bnn_conv2d_bit_ref(const uint64_t *x, const uint64_t *panels, const int32_t *tap_sums,
                       const bnn_conv *conv, int pad_value, int32_t *out) {
    const bnn_window *window = &conv->window;
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_BIT, &out_h, &out_w));
    BNN_TRY(bnn_check_pad_value(pad_value));
    BNN_TRY(bnn_check_tails(x, window->batch * window->height * window->width, conv->channels));
    const int64_t N = conv->out_channels, channels = conv->channels / conv->groups;
    const int64_t taps = window->kernel_h * window->kernel_w;
    for (int64_t p = 0; p < window->batch * out_h * out_w; p++) {
        const bnn_position at = bnn_position_of(p, out_h, out_w);
        for (int64_t n = 0; n < N; n++) {
            const int64_t first = n / (N / conv->groups) * channels;
            int64_t sum = 0;
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t pixel =
                    bnn_tap_pixel(window, at, tap / window->kernel_w, tap % window->kernel_w);
                const uint64_t *weight = panels + (n * taps + tap) * bnn_words(channels);
                if (pixel >= 0)
                    sum += dot_tap(x + pixel * bnn_words(conv->channels), weight, first, channels);
                else
                    sum += (int64_t)pad_value * tap_sums[tap * N + n];
            }
            out[p * N + n] = (int32_t)sum;
        }
    }
    return BNN_OK;
}
