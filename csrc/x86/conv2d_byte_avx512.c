/*
 * Convolution of bytes with AVX-512 VNNI; the meaning is ref/bytes.c. Each image (and group) is
 * framed with zeros; outputs with taps outside then lack pad_value * (sum of the weights there).
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prfchw")
#include "byte_tile_avx512.h"
#include "../frame.h"

/* Copy one image's channels of one group into the inside of a frame. */
static void fill_frame(const uint8_t *image, const bnn_conv *conv, int64_t group, frame size,
                       uint8_t flip, uint8_t *frame) {
    const bnn_window *w = &conv->window;
    for (int64_t y = 0; y < w->height; y++) {
        uint8_t *row = frame + ((y + w->pad_top) * size.columns + w->pad_left) * size.depth;
        const uint8_t *from = image + y * w->width * conv->channels;
        if (conv->groups == 1) {
            copy_flipped(from, w->width * size.depth, flip, row);
            continue;
        }
        for (int64_t x = 0; x < w->width; x++)
            copy_flipped(from + x * conv->channels + group * size.depth, size.depth, flip,
                         row + x * size.depth);
    }
}

/* Where each step of a window lies after the window's start, tap by tap. */
static void fill_offsets(const bnn_window *w, frame size, int64_t *offsets) {
    const int64_t steps = bnn_byte_steps(size.depth);
    for (int64_t r = 0; r < w->kernel_h; r++)
        for (int64_t s = 0; s < w->kernel_w; s++)
            for (int64_t k = 0; k < steps; k++)
                *offsets++ = (r * w->dilation_h * size.columns + s * w->dilation_w) * size.depth +
                             k * STEP;
}

/* Scratch of one call. */
typedef struct scratch {
    uint8_t *frame;
    int64_t *starts, *offsets;
    int32_t *first_sums;
} scratch;

static void conv_frame(scratch s, const int8_t *panels, const int32_t *first_sums, int64_t steps,
                       int64_t N, int64_t pixels, int32_t *out, int64_t out_stride) {
    for (int64_t n = 0; n < N; n += TILE_CHANNELS)
        for (int64_t p = 0; p < pixels; p += TILE_ROWS)
            byte_tile(s.frame, s.starts + p, s.offsets, steps, panels + n * steps * STEP,
                      first_sums + n, (int)bnn_min(TILE_ROWS, pixels - p),
                      bnn_min(TILE_CHANNELS, N - n), out + p * out_stride + n, out_stride);
}

static void conv_images(const uint8_t *x, int x_type, const int8_t *panels,
                        const int32_t *tap_sums, const bnn_conv *conv, int32_t pad_value,
                        frame size, int64_t out_h, int64_t out_w, scratch s, int32_t *out) {
    const bnn_window *w = &conv->window;
    const int64_t N = conv->out_channels / conv->groups, taps = w->kernel_h * w->kernel_w;
    const int64_t group_bytes = bnn_byte_panel_size(N, taps, size.depth, TILE_CHANNELS);
    const int64_t pixels = out_h * out_w;
    for (int64_t i = 0; i < w->batch; i++) {
        int32_t *result = out + i * pixels * conv->out_channels;
        for (int64_t g = 0; g < conv->groups; g++) {
            fill_frame(x + i * w->height * w->width * conv->channels, conv, g, size,
                       byte_flip(x_type), s.frame);
            conv_frame(s, panels + g * group_bytes, s.first_sums + g * N,
                       taps * bnn_byte_steps(size.depth), N, pixels, result + g * N,
                       conv->out_channels);
        }
        if (pad_value != 0)
            correct_border(tap_sums, conv, i, (uint32_t)pad_value, out_h, out_w, result);
    }
}

int bnn_conv2d_byte_avx512(const void *x, int x_type, const int8_t *panels,
                           const int32_t *tap_sums, const bnn_conv *conv, int32_t pad_value,
                           int32_t *out) {
    const bnn_window *w = &conv->window;
    const int64_t taps = w->kernel_h * w->kernel_w;
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_BYTE, &out_h, &out_w));
    BNN_TRY(bnn_check_byte(x_type, pad_value));
    const frame size = frame_with_depth(conv, conv->channels / conv->groups);
    BNN_TRY(bnn_check_size(size.rows, size.columns, size.depth, 1));
    const int64_t bytes = size.rows * size.columns * size.depth + SLACK;
    scratch s = {
        .frame = malloc((size_t)bytes),
        .starts = window_starts(w, size, out_h, out_w),
        .offsets = malloc((size_t)(taps * bnn_byte_steps(size.depth)) * sizeof(int64_t)),
        .first_sums = malloc((size_t)conv->out_channels * sizeof(int32_t)),
    };
    const int ready = s.frame && s.starts && s.offsets && s.first_sums;
    if (ready) {
        memset(s.frame, byte_flip(x_type), (size_t)bytes);
        fill_offsets(w, size, s.offsets);
        start_sums(tap_sums, taps, conv->out_channels, x_type, s.first_sums);
        conv_images(x, x_type, panels, tap_sums, conv, pad_value, size, out_h, out_w, s, out);
    }
    free(s.frame);
    free(s.starts);
    free(s.offsets);
    free(s.first_sums);
    return ready ? BNN_OK : BNN_ERR_MEMORY;
}

#endif
