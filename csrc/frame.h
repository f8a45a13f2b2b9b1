/* Framed images: copied once with their border, so that every tap reads memory that exists. */
#ifndef BNNSIM_FRAME_H
#define BNNSIM_FRAME_H

#include <stdlib.h>

#include "internal.h"

/* One image's channels of one group with its border; depth elements (words or bytes) per pixel. */
typedef struct frame {
    int64_t rows, columns, depth;
} frame;

static inline frame frame_with_depth(const bnn_conv *conv, int64_t depth) {
    const bnn_window *w = &conv->window;
    return (frame){w->height + w->pad_top + w->pad_bottom, w->width + w->pad_left + w->pad_right,
                   depth};
}

/* Where the window of every output pixel starts in a frame; NULL without memory. */
static inline int64_t *window_starts(const bnn_window *w, frame size, int64_t out_h,
                                     int64_t out_w) {
    int64_t *starts = malloc((size_t)(out_h * out_w) * sizeof *starts);
    for (int64_t y = 0; starts != NULL && y < out_h; y++)
        for (int64_t x = 0; x < out_w; x++)
            starts[y * out_w + x] =
                (y * w->stride_h * size.columns + x * w->stride_w) * size.depth;
    return starts;
}

/* Add factor * (sum of the weights at each tap outside the image) to one output pixel. */
static inline void correct_pixel(const int32_t *tap_sums, const bnn_conv *conv, bnn_position at,
                          uint32_t factor, int32_t *out) {
    const bnn_window *w = &conv->window;
    for (int64_t tap = 0; tap < w->kernel_h * w->kernel_w; tap++) {
        const int32_t *sums = tap_sums + tap * conv->out_channels;
        if (bnn_tap_pixel(w, at, tap / w->kernel_w, tap % w->kernel_w) >= 0) continue;
        for (int64_t n = 0; n < conv->out_channels; n++)
            out[n] = (int32_t)((uint32_t)out[n] + factor * (uint32_t)sums[n]);
    }
}

/* Correct every output pixel of one image that has a tap outside. */
static inline void correct_border(const int32_t *tap_sums, const bnn_conv *conv, int64_t image,
                           uint32_t factor, int64_t out_h, int64_t out_w, int32_t *out) {
    const bnn_window *w = &conv->window;
    for (int64_t y = 0; y < out_h; y++) {
        const int64_t top = y * w->stride_h - w->pad_top;
        const int row_inside = top >= 0 && top + (w->kernel_h - 1) * w->dilation_h < w->height;
        for (int64_t x = 0; x < out_w; x++) {
            const int64_t left = x * w->stride_w - w->pad_left;
            const int inside = left >= 0 && left + (w->kernel_w - 1) * w->dilation_w < w->width;
            if (!row_inside || !inside)
                correct_pixel(tap_sums, conv, (bnn_position){image, y, x}, factor,
                              out + (y * out_w + x) * conv->out_channels);
        }
    }
}

#endif
