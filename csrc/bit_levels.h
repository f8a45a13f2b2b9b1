/*
 * The levels that tiles hold their counts against (see bit_tile.h), one row of all output channels
 * per class of output pixels: pixels whose windows leave the image over the same taps share one.
 *
 * A tap outside the image reads zero words, that is the lowest activation (-1 of bits) in every
 * channel, so a sum with such taps lacks (pad_value - lowest) * (sum of the weights there). With that
 * as `lack`, sums are base + lack - (count << scale), the base of bits being K, and a threshold is met
 * where count < (margin + lack) >> scale.
 */
#ifndef BNNSIM_BIT_LEVELS_H
#define BNNSIM_BIT_LEVELS_H

#include <stdlib.h>

#include "bit_tile.h"

/* How counts become results. */
typedef struct measure {
    int64_t base;             /* of every channel, where bases is NULL */
    const int32_t *bases;     /* of each channel */
    int64_t factor;           /* the lack is factor * (sum of the weights outside) */
    int scale;
    const bnn_limits *limits; /* NULL for sums */
    int64_t per_channel;      /* how many levels a channel has */
} measure;

static inline measure measure_of_bits(int64_t K, int pad_value, const bnn_limits *limits) {
    return (measure){K, NULL, pad_value + 1, 1, limits, 1};
}

static inline measure measure_of_planes(const bnn_planes *planes, const int32_t *bases,
                                        int pad_value, const bnn_limits *limits) {
    const int64_t factor = (int64_t)pad_value - planes->low;
    return (measure){0, bases, factor, planes->step == 2, limits,
                     limits == NULL ? 1 : (INT64_C(1) << limits->bits) - 1};
}

/* Bytes from one channel's level to the next. */
static inline size_t level_bytes(const measure *m) {
    return m->limits == NULL ? sizeof(int32_t) : sizeof(int64_t);
}

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
static inline void sum_outside(const bnn_conv *conv, const int32_t *restrict tap_sums,
                               bnn_position at, int32_t *restrict outside) {
    const bnn_window *w = &conv->window;
    const int64_t N = conv->out_channels;
    for (int64_t n = 0; n < N; n++) outside[n] = 0;
    for (int64_t r = 0; r < w->kernel_h; r++)
        for (int64_t s = 0; s < w->kernel_w; s++, tap_sums += N) {
            if (bnn_tap_pixel(w, at, r, s) >= 0) continue;
            for (int64_t n = 0; n < N; n++) outside[n] += tap_sums[n];
        }
}

/* One row of bases + lack. */
static inline void base_row(const measure *m, const int32_t *restrict outside, int64_t channels,
                            int32_t *restrict row) {
    const uint32_t base = (uint32_t)m->base, factor = (uint32_t)m->factor;
    const int32_t *bases = m->bases;
    for (int64_t n = 0; n < channels; n++)
        row[n] = (int32_t)((bases != NULL ? (uint32_t)bases[n] : base) +
                           factor * (uint32_t)outside[n]);
}

/* One row of (margin + lack) >> scale. */
static inline void limit_row(const measure *m, const int64_t *restrict margins,
                             const int32_t *restrict outside, int64_t channels,
                             int64_t *restrict row) {
    const int64_t factor = m->factor;
    const int scale = m->scale;
    for (int64_t n = 0; n < channels; n++) row[n] = (margins[n] + factor * outside[n]) >> scale;
}

/* One row of levels of all thresholds, or of sums. */
static inline void level_row(const measure *m, const int32_t *outside, int64_t channels,
                             void *row) {
    if (m->limits == NULL) base_row(m, outside, channels, row);
    for (int64_t i = 0; m->limits != NULL && i < m->per_channel; i++)
        limit_row(m, m->limits->margins + i * m->limits->channels, outside, channels,
                  (int64_t *)row + i * channels);
}

/* Rows of levels with the slack that a tile may read; NULL without memory. */
static inline char *new_level_rows(const measure *m, int64_t rows, int64_t channels) {
    return calloc((size_t)(rows * m->per_channel * channels + TILE_CHANNELS), level_bytes(m));
}

static inline void free_levels(levels *l) {
    free(l->values);
    free(l->row);
}

/* The levels of a convolution; values is NULL without memory. Free them with free_levels. */
static inline levels new_levels(const bnn_conv *conv, const int32_t *tap_sums, const measure *m,
                                int64_t out_h, int64_t out_w) {
    const bnn_window *w = &conv->window;
    const int64_t N = conv->out_channels, sides = out_h + out_w;
    int64_t *classes = calloc((size_t)(2 * sides + N), sizeof *classes); /* N: more than enough */
    levels l = {NULL, classes, classes + out_h, m->per_channel * N * (int64_t)level_bytes(m), 0};
    if (classes == NULL) return l;
    int64_t *first_row = classes + sides, *first_column = first_row + out_h;
    int64_t rows = 1, columns = 1;
    int32_t *outside = (int32_t *)(classes + 2 * sides);
    if (m->factor != 0) {
        rows = axis_classes(w->height, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, out_h,
                            l.row, first_row);
        columns = axis_classes(w->width, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left,
                               out_w, l.column, first_column);
    }
    l.row_step = columns * l.row_bytes;
    l.values = new_level_rows(m, rows * columns, N);
    for (int64_t i = 0; l.values != NULL && i < rows * columns; i++) {
        const bnn_position at = {0, first_row[i / columns], first_column[i % columns]};
        if (m->factor != 0) sum_outside(conv, tap_sums, at, outside);
        level_row(m, outside, N, l.values + i * l.row_bytes);
    }
    return l;
}

#endif
