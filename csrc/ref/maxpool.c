/* Largest value of a window; taps outside the image do not take part. */
#include "../internal.h"

/* Pixel of the next in-image tap of a window, counted on in *tap; -1 when there is none left. */
static int64_t next_tap(const bnn_window *window, bnn_position at, int64_t *tap) {
    const int64_t taps = window->kernel_h * window->kernel_w;
    while (*tap < taps) {
        const int64_t pixel =
            bnn_tap_pixel(window, at, *tap / window->kernel_w, *tap % window->kernel_w);
        ++*tap;
        if (pixel >= 0) return pixel;
    }
    return -1;
}

int bnn_maxpool_bit_ref(const uint64_t *x, const uint64_t *use_and, const bnn_window *window,
                        int64_t words, uint64_t *out) {
    int64_t out_h, out_w;
    BNN_TRY(bnn_window_out(window, &out_h, &out_w));
    BNN_TRY(bnn_check_size(window->batch * window->height, window->width, words, 1));
    BNN_TRY(bnn_check_size(window->batch * out_h, out_w, words, 1));
    for (int64_t p = 0; p < window->batch * out_h * out_w; p++) {
        const bnn_position at = bnn_position_of(p, out_h, out_w);
        int64_t tap = 0, pixel = next_tap(window, at, &tap);
        uint64_t *row = out + p * words;
        if (pixel < 0) return BNN_ERR_EMPTY_WINDOW;
        for (int64_t j = 0; j < words; j++) row[j] = x[pixel * words + j];
        while ((pixel = next_tap(window, at, &tap)) >= 0) {
            for (int64_t j = 0; j < words; j++) {
                const uint64_t word = x[pixel * words + j];
                row[j] = ((row[j] | word) & ~use_and[j]) | ((row[j] & word) & use_and[j]);
            }
        }
    }
    return BNN_OK;
}

#define MAXPOOL(type)                                                                              \
    static int maxpool_##type(const void *images, const bnn_window *window, int64_t C,             \
                              int64_t out_h, int64_t out_w, void *result) {                        \
        const type *x = images;                                                                    \
        for (int64_t p = 0; p < window->batch * out_h * out_w; p++) {                              \
            const bnn_position at = bnn_position_of(p, out_h, out_w);                              \
            int64_t tap = 0, pixel = next_tap(window, at, &tap);                                   \
            type *row = (type *)result + p * C;                                                    \
            if (pixel < 0) return BNN_ERR_EMPTY_WINDOW;                                            \
            for (int64_t c = 0; c < C; c++) row[c] = x[pixel * C + c];                             \
            while ((pixel = next_tap(window, at, &tap)) >= 0)                                      \
                for (int64_t c = 0; c < C; c++)                                                    \
                    row[c] = x[pixel * C + c] > row[c] ? x[pixel * C + c] : row[c];                \
        }                                                                                          \
        return BNN_OK;                                                                             \
    }

MAXPOOL(uint8_t)
MAXPOOL(int8_t)
MAXPOOL(int16_t)
MAXPOOL(int32_t)

int bnn_maxpool_int_ref(const void *x, int x_type, const bnn_window *window, int64_t channels,
                        void *out) {
    int64_t out_h, out_w;
    BNN_TRY(bnn_window_out(window, &out_h, &out_w));
    BNN_TRY(bnn_check_size(window->batch * window->height, window->width, channels, 1));
    BNN_TRY(bnn_check_size(window->batch * out_h, out_w, channels, 1));
    switch (x_type) {
    case BNN_UINT8: return maxpool_uint8_t(x, window, channels, out_h, out_w, out);
    case BNN_INT8: return maxpool_int8_t(x, window, channels, out_h, out_w, out);
    case BNN_INT16: return maxpool_int16_t(x, window, channels, out_h, out_w, out);
    case BNN_INT32: return maxpool_int32_t(x, window, channels, out_h, out_w, out);
    default: return BNN_ERR_DTYPE;
    }
}
