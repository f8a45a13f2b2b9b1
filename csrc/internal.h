/* Checks and addressing that the kernels share. Not part of the C interface. */
#ifndef BNNSIM_INTERNAL_H
#define BNNSIM_INTERNAL_H

#include <stddef.h>

#include "include/bnnsim.h"

/* How long a call takes on one thread, in products of bits, roughly; run.c. */
double bnn_work(const bnn_call *call);
#define BNN_LEAST_WORK (double)(1 << 22) /* less is done before another thread has woken up */

static inline int64_t bnn_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* Leave the calling kernel with the status of a failed check. */
#define BNN_TRY(expression)                                                                        \
    do {                                                                                           \
        const int try_status = (expression);                                                       \
        if (try_status != BNN_OK) return try_status;                                               \
    } while (0)

/* Is every factor >= 1 and 8 * a * b * c * d (bytes, 8 per element at most) a valid int64? */
static inline int bnn_check_size(int64_t a, int64_t b, int64_t c, int64_t d) {
    int64_t bytes = 8;
    if (a < 1 || b < 1 || c < 1 || d < 1) return BNN_ERR_SIZE;
    if (__builtin_mul_overflow(bytes, a, &bytes) || __builtin_mul_overflow(bytes, b, &bytes) ||
        __builtin_mul_overflow(bytes, c, &bytes) || __builtin_mul_overflow(bytes, d, &bytes))
        return BNN_ERR_SIZE;
    return BNN_OK;
}

static inline int bnn_check_gemm(int64_t M, int64_t N, int64_t K, int64_t max_K) {
    if (K > max_K) return BNN_ERR_K;
    BNN_TRY(bnn_check_size(M, N, 1, 1));
    BNN_TRY(bnn_check_size(M, K, 1, 1));
    return bnn_check_size(N, K, 1, 1);
}

/* Values of one dot product of a convolution. */
static inline int64_t bnn_conv_K(const bnn_conv *conv) {
    return conv->window.kernel_h * conv->window.kernel_w * (conv->channels / conv->groups);
}

/* The geometry and the limit on K of a convolution; gives the output size. */
static inline int bnn_check_conv(const bnn_conv *conv, int64_t max_K, int64_t *out_h,
                                 int64_t *out_w) {
    BNN_TRY(bnn_conv_out(conv, out_h, out_w));
    return bnn_conv_K(conv) > max_K ? BNN_ERR_K : BNN_OK;
}

static inline int bnn_check_pad_value(int pad_value) {
    return pad_value < -1 || pad_value > 1 ? BNN_ERR_PAD_VALUE : BNN_OK;
}

/* The largest size of a value on the grid of a product's activations, or of their difference. */
static inline int64_t bnn_plane_reach(const bnn_planes *planes) {
    const int64_t range = (int64_t)planes->step * ((1 << planes->x_bits) - 1);
    const int64_t low = planes->low < 0 ? -(int64_t)planes->low : planes->low;
    const int64_t high = planes->low + range < 0 ? -(planes->low + range) : planes->low + range;
    const int64_t end = low > high ? low : high;
    return end > range ? end : range;
}

/* Planes and limits (or NULL) that exist, and products over K that fit int32. */
static inline int bnn_check_planes(const bnn_planes *planes, const bnn_limits *limits, int64_t K) {
    if (planes->x_bits < 1 || planes->x_bits > 8 || planes->w_bits < 1 || planes->w_bits > 8)
        return BNN_ERR_VALUE;
    if (planes->step < 1 || planes->step > 2) return BNN_ERR_VALUE;
    if (limits != NULL && (limits->bits < 1 || limits->bits > 8)) return BNN_ERR_VALUE;
    const int64_t largest = bnn_plane_reach(planes) * ((1 << planes->w_bits) - 1);
    return K > INT32_MAX / largest ? BNN_ERR_K : BNN_OK;
}

static inline int bnn_check_plane_pad(const bnn_planes *planes, int64_t pad_value) {
    const int64_t reach = bnn_plane_reach(planes);
    return pad_value < -reach || pad_value > reach ? BNN_ERR_PAD_VALUE : BNN_OK;
}

static inline int bnn_check_plane_tails(const uint64_t *x, const bnn_planes *planes,
                                        int64_t images, int64_t pixels, int64_t K) {
    for (int64_t plane = 0; plane < images * planes->x_bits; plane++)
        BNN_TRY(bnn_check_tails(x + plane * planes->x_stride, pixels, K));
    return BNN_OK;
}

/* Is a pad value one of the values of a byte type? */
static inline int bnn_check_byte(int type, int32_t pad_value) {
    if (type != BNN_UINT8 && type != BNN_INT8) return BNN_ERR_DTYPE;
    const int32_t low = type == BNN_UINT8 ? 0 : INT8_MIN;
    return pad_value < low || pad_value > low + 255 ? BNN_ERR_VALUE : BNN_OK;
}

/* A grid of a type: every low + step * u is one of its values. */
static inline int bnn_check_grid(int type, const bnn_planes *planes, int64_t images, int64_t P,
                                 int64_t C) {
    const int bits = planes->x_bits;
    const int32_t low = planes->low, step = planes->step;
    if (type != BNN_UINT8 && type != BNN_INT8 && type != BNN_INT16) return BNN_ERR_DTYPE;
    if (bits < 1 || bits > 8 || step < 1 || step > 2) return BNN_ERR_VALUE;
    const int32_t least = type == BNN_UINT8 ? 0 : type == BNN_INT8 ? INT8_MIN : INT16_MIN;
    const int32_t most = type == BNN_UINT8 ? UINT8_MAX : type == BNN_INT8 ? INT8_MAX : INT16_MAX;
    if (low < least || low > most - step * ((1 << bits) - 1)) return BNN_ERR_VALUE;
    return bnn_check_size(images, bits, P, C);
}

static inline int bnn_check_draws(const bnn_draws *draws, int64_t P, int64_t C) {
    const int bits = draws->bits;
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    if (bits != 1 && bits != 2 && bits != 4 && bits != 8 && bits != 16) return BNN_ERR_VALUE;
    if (draws->first < 0 || draws->first > (INT64_C(1) << 62) - P * C) return BNN_ERR_SIZE;
    return BNN_OK;
}

static inline int bnn_check_directions(const int8_t *direction, int64_t C) {
    for (int64_t c = 0; c < C; c++)
        if (direction[c] != 1 && direction[c] != -1) return BNN_ERR_VALUE;
    return BNN_OK;
}

/* The valid bits of word `word` of a row of K elements. */
static inline uint64_t bnn_valid_bits(int64_t K, int64_t word) {
    const int64_t left = K - BNN_WORD_BITS * word;
    return left >= BNN_WORD_BITS ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
}

/* Write `count` (at most 64) bits into a row from bit `first` on, and zeros after them up to the end
 * of their last word: rows are written in ascending order, and what was before stays. */
static inline void bnn_put_bits(uint64_t *row, int64_t first, uint64_t bits, int64_t count) {
    uint64_t *word = row + first / BNN_WORD_BITS;
    const int shift = (int)(first % BNN_WORD_BITS);
    *word = shift == 0 ? bits : *word | bits << shift;
    if (shift + count > BNN_WORD_BITS) word[1] = bits >> (BNN_WORD_BITS - shift);
}

/* Does a sum over K meet the threshold that limits hold for channel n? */
static inline uint64_t bnn_meets_limit(int64_t acc, int64_t K, const bnn_limits *limits,
                                       int64_t n) {
    const uint64_t flip = limits->flips[n / BNN_WORD_BITS] >> (n % BNN_WORD_BITS) & 1;
    const int64_t t = K + 2 - (int64_t)flip - limits->margins[n];
    return flip ? acc <= t : acc >= t;
}

/* Word j of the `channels` bits that start at bit `first` of a pixel (of any alignment). */
static inline uint64_t bnn_group_word(const uint64_t *pixel, int64_t first, int64_t channels,
                                      int64_t j) {
    const int64_t bit = first + BNN_WORD_BITS * j;
    const int64_t last = first + channels - 1;
    const int shift = (int)(bit % BNN_WORD_BITS);
    uint64_t word = pixel[bit / BNN_WORD_BITS] >> shift;
    if (shift != 0 && bit / BNN_WORD_BITS < last / BNN_WORD_BITS)
        word |= pixel[bit / BNN_WORD_BITS + 1] << (BNN_WORD_BITS - shift);
    return word & bnn_valid_bits(channels, j);
}

/* One output position of a window. */
typedef struct bnn_position {
    int64_t image, out_y, out_x;
} bnn_position;

static inline bnn_position bnn_position_of(int64_t index, int64_t out_h, int64_t out_w) {
    return (bnn_position){index / (out_h * out_w), index / out_w % out_h, index % out_w};
}

/* Index of the input pixel under tap (r, s), or -1 outside the image. */
static inline int64_t bnn_tap_pixel(const bnn_window *window, bnn_position at, int64_t r,
                                    int64_t s) {
    const int64_t y = at.out_y * window->stride_h - window->pad_top + r * window->dilation_h;
    const int64_t x = at.out_x * window->stride_w - window->pad_left + s * window->dilation_w;
    if (y < 0 || y >= window->height || x < 0 || x >= window->width) return -1;
    return (at.image * window->height + y) * window->width + x;
}

/* The place in x of value k of output channel n at a position, or -1 outside the image. */
static inline int64_t bnn_value_at(const bnn_conv *conv, bnn_position at, int64_t n, int64_t k) {
    const bnn_window *w = &conv->window;
    const int64_t channels = conv->channels / conv->groups, tap = k / channels;
    const int64_t group = n / (conv->out_channels / conv->groups);
    const int64_t pixel = bnn_tap_pixel(w, at, tap / w->kernel_w, tap % w->kernel_w);
    return pixel < 0 ? -1 : pixel * conv->channels + group * channels + k % channels;
}

/* Is weight k of output channel n +1, in rows of words(K)? */
static inline int bnn_is_plus(const uint64_t *rows, int64_t n, int64_t K, int64_t k) {
    return (int)(rows[n * bnn_words(K) + k / BNN_WORD_BITS] >> (k % BNN_WORD_BITS) & 1);
}

#endif
