/* Products of ternary planes: a term counts where both masks are set, minus where signs differ. */
#include "../internal.h"

static inline int64_t dot_word(uint64_t a_sign, uint64_t a_mask, uint64_t b_sign, uint64_t b_mask) {
    const uint64_t both = a_mask & b_mask;
    return __builtin_popcountll(both) - 2 * __builtin_popcountll((a_sign ^ b_sign) & both);
}

/* A sign bit outside the mask breaks the contract as a tail bit does. */
static int check_planes(const uint64_t *sign, const uint64_t *mask, int64_t rows, int64_t K) {
    uint64_t outside = 0;
    for (int64_t i = 0; i < rows * bnn_words(K); i++) outside |= sign[i] & ~mask[i];
    return outside ? BNN_ERR_VALUE : bnn_check_tails(mask, rows, K);
}

int bnn_gemm_ternary_ref(const uint64_t *a_sign, const uint64_t *a_mask, const uint64_t *b_sign,
                         const uint64_t *b_mask, int64_t M, int64_t N, int64_t K, int32_t *out) {
    const int64_t words = bnn_words(K);
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BIT));
    BNN_TRY(check_planes(a_sign, a_mask, M, K));
    BNN_TRY(check_planes(b_sign, b_mask, N, K));
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            const int64_t i = m * words, j = n * words;
            int64_t sum = 0;
            for (int64_t k = 0; k < words; k++)
                sum += dot_word(a_sign[i + k], a_mask[i + k], b_sign[j + k], b_mask[j + k]);
            out[m * N + n] = (int32_t)sum;
        }
    }
    return BNN_OK;
}

/* The four planes of a convolution. */
typedef struct planes {
    const uint64_t *x_sign, *x_mask, *w_sign, *w_mask;
} planes;

/* One output value: in-image taps by their planes, the others as pad_value in every channel. */
static int64_t conv_point(planes planes, const bnn_conv *conv, bnn_position at, int64_t n,
                          int pad_value) {
    const bnn_window *window = &conv->window;
    const int64_t channels = conv->channels / conv->groups, words = bnn_words(channels);
    const int64_t first = n / (conv->out_channels / conv->groups) * channels;
    const int64_t taps = window->kernel_h * window->kernel_w;
    int64_t sum = 0;
    for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t pixel =
            bnn_tap_pixel(window, at, tap / window->kernel_w, tap % window->kernel_w);
        const int64_t weight = (n * taps + tap) * words;
        if (pixel < 0 && pad_value == 0) continue;
        for (int64_t j = 0; j < words; j++) {
            const uint64_t valid = bnn_valid_bits(channels, j);
            uint64_t sign = pad_value > 0 ? valid : 0, mask = valid;
            if (pixel >= 0) {
                const int64_t start = pixel * bnn_words(conv->channels);
                sign = bnn_group_word(planes.x_sign + start, first, channels, j);
                mask = bnn_group_word(planes.x_mask + start, first, channels, j);
            }
            sum += dot_word(sign, mask, planes.w_sign[weight + j], planes.w_mask[weight + j]);
        }
    }
    return sum;
}

int bnn_conv2d_ternary_ref(const uint64_t *x_sign, const uint64_t *x_mask, const uint64_t *w_sign,
                           const uint64_t *w_mask, const bnn_conv *conv, int pad_value,
                           int32_t *out) {
    const bnn_window *window = &conv->window;
    const planes all = {x_sign, x_mask, w_sign, w_mask};
    const int64_t taps = window->kernel_h * window->kernel_w;
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_BIT, &out_h, &out_w));
    BNN_TRY(bnn_check_pad_value(pad_value));
    BNN_TRY(check_planes(x_sign, x_mask, window->batch * window->height * window->width,
                         conv->channels));
    BNN_TRY(check_planes(w_sign, w_mask, conv->out_channels * taps,
                         conv->channels / conv->groups));
    for (int64_t p = 0; p < window->batch * out_h * out_w; p++) {
        const bnn_position at = bnn_position_of(p, out_h, out_w);
        for (int64_t n = 0; n < conv->out_channels; n++)
            out[p * conv->out_channels + n] = (int32_t)conv_point(all, conv, at, n, pad_value);
    }
    return BNN_OK;
}
