/*
 * The levels that tiles hold their counts against (see bit_tile.h), one row of all output channels
 * per class of output pixels: pixels whose windows leave the image over the same taps share one.
 *
 * A tap outside the image reads zero words, that is -1 in every channel, so a sum with such taps
 * lacks (pad_value + 1) * (sum of the weights there). With that as `lack`, sums are
 * K + lack - 2 * mismatches, and a threshold is met where mismatches < (margin + lack) / 2.
 */
#ifndef BNNSIM_BIT_LEVELS_H
#define BNNSIM_BIT_LEVELS_H

#include <stdlib.h>

#include "bit_tile.h"

typedef struct levels {
    char *values;                 /* [row class][column class][channels], and a panel of slack */
    int64_t *row, *column;        /* the class of each output row and column */
    int64_t row_bytes, row_step;  /* from one class to the next: along columns, along rows */
} levels;

/* Number the classes along one axis; first[c] is the first output position of class c. */
static inline int64_t axis_classes(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                                   int64_t pad, int64_t out, int64_t *class_of, int64_t *first) {
    int64_t classes = 0, last_low = -1, last_high = -1;
    for (int64_t o = 0; o < out; o++) {
        const int64_t start = o * stride - pad;
        const int64_t low = start < 0 ? (-start + dilation - 1) / dilation : 0;
        const int64_t high = start < size ? (size - 1 - start) / dilation + 1 : 0;
        const int64_t high_tap = bnn_min(high, kernel);
        if (o == 0 || low != last_low || high_tap != last_high) first[classes++] = o;
        class_of[o] = classes - 1;
        last_low = low, last_high = high_tap;
    }
    return classes;
}

/* outside[n] = sum of the weights of channel n at the taps outside the image. */
static inline void sum_outside(const bnn_conv *conv, const int32_t *tap_sums, bnn_position at,
                               int32_t *outside) {
    const bnn_window *w = &conv->window;
    for (int64_t n = 0; n < conv->out_channels; n++) outside[n] = 0;
    for (int64_t tap = 0; tap < w->kernel_h * w->kernel_w; tap++) {
        const int32_t *sums = tap_sums + tap * conv->out_channels;
        if (bnn_tap_pixel(w, at, tap / w->kernel_w, tap % w->kernel_w) >= 0) continue;
        for (int64_t n = 0; n < conv->out_channels; n++) outside[n] += sums[n];
    }
}

/* One row of levels, the lack being factor * outside: bases, or with limits (margin + lack) / 2,
 * rounded down. */
static inline void level_row(int64_t K, const bnn_limits *limits, const int32_t *outside,
                             int factor, int64_t channels, void *row) {
    int32_t *bases = row;
    int64_t *halves = row;
    if (limits == NULL)
        for (int64_t n = 0; n < channels; n++)
            bases[n] = (int32_t)((uint32_t)K + (uint32_t)factor * (uint32_t)outside[n]);
    else
        for (int64_t n = 0; n < channels; n++) {
            const int64_t once = outside[n], lack = factor == 2 ? once + once : once;
            halves[n] = (limits->margins[n] + (factor == 0 ? 0 : lack)) >> 1;
        }
}

static inline size_t level_bytes(const bnn_limits *limits) {
    return limits == NULL ? sizeof(int32_t) : sizeof(int64_t);
}

/* Rows of levels with the slack that a tile may read; NULL without memory. */
static inline char *new_level_rows(const bnn_limits *limits, int64_t rows, int64_t channels) {
    return calloc((size_t)(rows * channels + TILE_CHANNELS), level_bytes(limits));
}

static inline void free_levels(levels *l) {
    free(l->values);
    free(l->row);
}

/* The levels of a convolution; values is NULL without memory. Free them with free_levels. */
static inline levels new_levels(const bnn_conv *conv, const int32_t *tap_sums, int pad_value,
                                const bnn_limits *limits, int64_t out_h, int64_t out_w) {
    const bnn_window *w = &conv->window;
    const int64_t N = conv->out_channels, sides = out_h + out_w;
    int64_t *classes = calloc((size_t)(2 * sides + N), sizeof *classes); /* N: more than enough */
    levels l = {NULL, classes, classes + out_h, N * (int64_t)level_bytes(limits), 0};
    if (classes == NULL) return l;
    int64_t *first_row = classes + sides, *first_column = first_row + out_h;
    int64_t rows = 1, columns = 1;
    int32_t *outside = (int32_t *)(classes + 2 * sides);
    if (pad_value != -1) {
        rows = axis_classes(w->height, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, out_h,
                            l.row, first_row);
        columns = axis_classes(w->width, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left,
                               out_w, l.column, first_column);
    }
    l.row_step = columns * l.row_bytes;
    l.values = new_level_rows(limits, rows * columns, N);
    for (int64_t i = 0; l.values != NULL && i < rows * columns; i++) {
        const bnn_position at = {0, first_row[i / columns], first_column[i % columns]};
        if (pad_value != -1) sum_outside(conv, tap_sums, at, outside);
        level_row(bnn_conv_K(conv), limits, outside, pad_value + 1, N, l.values + i * l.row_bytes);
    }
    return l;
}

#endif
