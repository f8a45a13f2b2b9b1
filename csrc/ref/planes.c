/* Products of planes, a pair of planes at a time: to sums, or to how many thresholds they meet. */
#include <stdlib.h>
#include <string.h>

#include "../internal.h"

/* The operands of a convolution. */
typedef struct operands {
    const uint64_t *x, *weights;
    const int32_t *tap_sums;
    const bnn_planes *planes;
    const bnn_conv *conv;
    int pad_value;
} operands;

/* Sum over the channels of bit (0 or 1) times sign (or masked sign), of one tap of one plane each. */
static int64_t dot_pair(const uint64_t *pixel, const uint64_t *weight, int masked, int64_t first,
                        int64_t channels) {
    int64_t sum = 0;
    for (int64_t j = 0; j < bnn_words(channels); j++) {
        const uint64_t a = bnn_group_word(pixel, first, channels, j);
        const uint64_t sign = weight[masked ? 2 * j : j];
        const uint64_t taking = masked ? a & weight[2 * j + 1] : a;
        sum += __builtin_popcountll(taking & sign) - __builtin_popcountll(taking & ~sign);
    }
    return sum;
}

/* The product of one tap inside the image: low * (sum of its weights) + step * (sum of u * w). */
static int64_t dot_tap(const operands *o, int64_t pixel, int64_t n, int64_t tap) {
    const bnn_conv *conv = o->conv;
    const bnn_planes *planes = o->planes;
    const int64_t N = conv->out_channels, channels = conv->channels / conv->groups;
    const int64_t taps = conv->window.kernel_h * conv->window.kernel_w;
    const int64_t words = bnn_words(channels) * (planes->masked ? 2 : 1);
    const int64_t first = n / (N / conv->groups) * channels;
    const int64_t pixels = conv->window.height * conv->window.width, image = pixel / pixels;
    int64_t sum = 0;
    for (int i = 0; i < planes->x_bits; i++)
        for (int j = 0; j < planes->w_bits; j++)
            sum += dot_pair(o->x + (image * planes->x_bits + i) * planes->x_stride +
                                pixel % pixels * bnn_words(conv->channels),
                            o->weights + ((n * planes->w_bits + j) * taps + tap) * words,
                            planes->masked, first, channels) *
                   (1 << (i + j));
    return planes->low * (int64_t)o->tap_sums[tap * N + n] + planes->step * sum;
}

static int64_t product_at(const operands *o, bnn_position at, int64_t n) {
    const bnn_window *window = &o->conv->window;
    int64_t sum = 0;
    for (int64_t tap = 0; tap < window->kernel_h * window->kernel_w; tap++) {
        const int64_t pixel =
            bnn_tap_pixel(window, at, tap / window->kernel_w, tap % window->kernel_w);
        sum += pixel >= 0 ? dot_tap(o, pixel, n, tap)
                          : (int64_t)o->pad_value * o->tap_sums[tap * o->conv->out_channels + n];
    }
    return sum;
}

/* How many of a channel's thresholds a sum meets. */
static uint64_t level_of(int64_t acc, int64_t base, const bnn_planes *planes,
                         const bnn_limits *limits, int64_t n) {
    const int64_t flip = (int64_t)(limits->flips[n / BNN_WORD_BITS] >> (n % BNN_WORD_BITS) & 1);
    uint64_t level = 0;
    for (int64_t i = 0; i < (1 << limits->bits) - 1; i++) {
        const int64_t t = base + planes->step - flip - limits->margins[i * limits->channels + n];
        level += flip ? acc <= t : acc >= t;
    }
    return level;
}

/* Sums, or planes of levels where `limits` is set. */
static int multiply(const operands *o, const bnn_limits *limits, int32_t *out, uint64_t *bits) {
    const bnn_conv *conv = o->conv;
    const bnn_window *w = &conv->window;
    const int64_t N = conv->out_channels;
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_BIT, &out_h, &out_w));
    BNN_TRY(bnn_check_planes(o->planes, limits, bnn_conv_K(conv)));
    BNN_TRY(bnn_check_plane_pad(o->planes, o->pad_value));
    BNN_TRY(bnn_check_plane_tails(o->x, o->planes, w->batch, w->height * w->width, conv->channels));
    int32_t *bases = malloc((size_t)N * sizeof *bases);
    if (bases == NULL) return BNN_ERR_MEMORY;
    bnn_plane_bases(o->planes, o->tap_sums, N, w->kernel_h * w->kernel_w, bases);
    for (int64_t i = 0; i < w->batch * out_h * out_w * N; i++) {
        const int64_t p = i / N, n = i % N;
        const int64_t acc = product_at(o, bnn_position_of(p, out_h, out_w), n);
        if (limits == NULL) {
            out[i] = (int32_t)acc;
            continue;
        }
        const uint64_t level = level_of(acc, bases[n], o->planes, limits, n);
        for (int plane = 0; plane < limits->bits; plane++)
            bnn_put_bits(bits + (p / (out_h * out_w) * limits->bits + plane) * limits->out_stride +
                             p % (out_h * out_w) * bnn_words(N),
                         n, level >> plane & 1, 1);
    }
    free(bases);
    return BNN_OK;
}

/* A matrix product is a convolution of images of one pixel. */
static int multiply_rows(const uint64_t *a, const uint64_t *panels, const int32_t *tap_sums,
                         const bnn_planes *planes, const bnn_limits *limits, int64_t M, int64_t N,
                         int64_t K, int32_t *out, uint64_t *bits) {
    const bnn_conv conv = {{M, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, K, N, 1};
    const operands o = {a, panels, tap_sums, planes, &conv, 0};
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BIT));
    return multiply(&o, limits, out, bits);
}

int bnn_gemm_planes_ref(const uint64_t *a, const uint64_t *panels, const int32_t *tap_sums,
                        const bnn_planes *planes, int64_t M, int64_t N, int64_t K, int32_t *out) {
    return multiply_rows(a, panels, tap_sums, planes, NULL, M, N, K, out, NULL);
}

int bnn_gemm_planes_threshold_ref(const uint64_t *a, const uint64_t *panels, const int32_t *tap_sums,
                                  const bnn_planes *planes, const bnn_limits *limits, int64_t M,
                                  int64_t N, int64_t K, uint64_t *out) {
    return multiply_rows(a, panels, tap_sums, planes, limits, M, N, K, NULL, out);
}

int bnn_conv2d_planes_ref(const uint64_t *x, const uint64_t *panels, const int32_t *tap_sums,
                          const bnn_planes *planes, const bnn_conv *conv, int pad_value,
                          int32_t *out) {
    const operands o = {x, panels, tap_sums, planes, conv, pad_value};
    return multiply(&o, NULL, out, NULL);
}

int bnn_conv2d_planes_threshold_ref(const uint64_t *x, const uint64_t *panels,
                                    const int32_t *tap_sums, const bnn_planes *planes,
                                    const bnn_limits *limits, const bnn_conv *conv, int pad_value,
                                    uint64_t *out) {
    const operands o = {x, panels, tap_sums, planes, conv, pad_value};
    return multiply(&o, limits, NULL, out);
}
