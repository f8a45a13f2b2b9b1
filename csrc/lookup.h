/*
 * Sums of activations with bit weights, four at a time from tables.
 *
 * LANES output positions (rows of a matrix, or neighbouring pixels) are worked on at once, one per
 * lane. For each four values of a dot product, the 16 sums +-a +-b +-c +-d of every lane are formed
 * once, and each output channel adds the one that its four weight bits name: a load and an add for
 * 4 * LANES products, whatever the channel count. Weights are panels of PANEL channels (panels.c)
 * over the whole dot product: the taps of a convolution follow each other without gaps.
 *
 * Images are first copied with their pads into planes, [channel][column % stride][row][column /
 * stride], in which the values of one tap for neighbouring outputs lie side by side.
 *
 * The including file gives `given` (type of the activations), `held` (of planes), `lane` (of
 * tables), VECTOR_BYTES (of a register), CONVERT(value, map), and then defines `target` and multiply.
 * BY_ROWS(l, count) names the blocks that multiply_rows takes instead, if there are any, with
 * TABLE_LINES lines of tables.
 */
#ifndef BNNSIM_LOOKUP_H
#define BNNSIM_LOOKUP_H

#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define PANEL 8
#define LINE_BYTES 64
#define LANES ((int64_t)(LINE_BYTES / sizeof(lane)))
#define LINE_VECTORS (LINE_BYTES / VECTOR_BYTES)
#define GROUPS 16 /* of four values, in a word of weights */
#define ENTRIES 16
#ifndef TABLE_LINES
#define TABLE_LINES (GROUPS * ENTRIES)
#endif
typedef lane vec __attribute__((vector_size(VECTOR_BYTES)));
typedef struct line {
    vec v[LINE_VECTORS]; /* one value, or one sum, of every position */
} line;

/* One call: its scratch, and where values lie. */
typedef struct lookup {
    const bnn_conv *conv;
    const given *x;
    const uint64_t *panels;
    const int16_t *map;   /* of bytes to values, or NULL */
    held pad;
    int64_t out_h, out_w, K, words, group_words;
    int64_t rows, pitch, plane; /* of the planes */
    held *planes;
    int64_t *offsets;     /* of value k of a window in the planes of its group */
    line *values, *tables;
} lookup;

/* Where results go, and one block: output positions [p, p + count) of a group of channels. */
typedef struct target target;
typedef void multiply_fn(const lookup *l, const target *to, int64_t group, int64_t p,
                         int64_t count);
static multiply_fn multiply;
#ifdef BY_ROWS
static multiply_fn multiply_rows;
#else
#define BY_ROWS(l, count) 0
#define multiply_rows multiply
#endif

/* Entry i of each table is the sum of its four values, value b negative where bit b of i is 0. */
static void tables_of(const line *values, int64_t groups, line *tables) {
    for (int64_t g = 0; g < groups; g++, values += 4, tables += ENTRIES)
        for (int v = 0; v < LINE_VECTORS; v++) {
            const vec a = values[0].v[v], b = values[1].v[v];
            const vec c = values[2].v[v], d = values[3].v[v];
            const vec low[4] = {-a - b, a - b, b - a, a + b};
            const vec high[4] = {-c - d, c - d, d - c, c + d};
#pragma GCC unroll 16
            for (int i = 0; i < ENTRIES; i++) tables[i].v[v] = low[i & 3] + high[i >> 2];
        }
}

/* Bytes from the start of table g to the entry that 64 weights name. */
ALWAYS_INLINE int64_t entry_at(uint64_t bits, int g) {
    const uint64_t placed = g < 2 ? bits << (6 - 4 * g) : bits >> (4 * g - 6);
    return (int64_t)(placed & 0x3c0) + (int64_t)g * ENTRIES * LINE_BYTES;
}

/* sums[c] = what the tables hold for the weights of channel c of 4, from `groups` tables. */
ALWAYS_INLINE void look_up(const line *tables, const uint64_t *bits, int groups, line sums[4]) {
    vec sum[4][LINE_VECTORS];
    for (int c = 0; c < 4; c++)
        for (int v = 0; v < LINE_VECTORS; v++) sum[c][v] = (vec){0};
#pragma GCC unroll 16
    for (int g = 0; g < GROUPS; g++) {
        if (g >= groups) break;
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            const line *entry = (const line *)((const char *)tables + entry_at(bits[c], g));
#pragma GCC unroll 4
            for (int v = 0; v < LINE_VECTORS; v++) sum[c][v] += entry->v[v];
        }
    }
    for (int c = 0; c < 4; c++)
        for (int v = 0; v < LINE_VECTORS; v++) sums[c].v[v] = sum[c][v];
}

/* Tables of word `word` of the dot product; gives their number. */
static int tables_of_word(const lookup *l, int64_t word) {
    const int64_t left = l->K - word * BNN_WORD_BITS;
    const int groups = (int)((bnn_min(BNN_WORD_BITS, left) + 3) / 4);
    tables_of(l->values + word * BNN_WORD_BITS, groups, l->tables);
    return groups;
}

/* Copy one image into the planes, its pads around it. */
static void fill_planes(const lookup *l, const given *image) {
    const bnn_window *w = &l->conv->window;
    const int64_t C = l->conv->channels, phases = w->stride_w;
    for (int64_t i = 0; i < C * l->plane; i++) l->planes[i] = l->pad;
    for (int64_t y = 0; y < w->height; y++)
        for (int64_t x = 0; x < w->width; x++) {
            const int64_t column = x + w->pad_left;
            held *to = l->planes + (column % phases * l->rows + y + w->pad_top) * l->pitch +
                       column / phases;
            const given *from = image + (y * w->width + x) * C;
            for (int64_t c = 0; c < C; c++) to[c * l->plane] = (held)CONVERT(from[c], l->map);
        }
}

/* Output positions whose windows lie side by side: `count` lanes from `lane_at` on. */
typedef struct run_of_lanes {
    int64_t lane_at, from, count;
} run_of_lanes;

/* Cut the outputs [p, p + count) at the ends of output rows; gives the number of runs. */
static int64_t runs_of_lanes(const lookup *l, int64_t p, int64_t count, run_of_lanes *runs) {
    int64_t number = 0;
    for (int64_t done = 0; done < count; number++) {
        const int64_t y = (p + done) / l->out_w, x = (p + done) % l->out_w;
        const int64_t some = bnn_min(l->out_w - x, count - done);
        runs[number] = (run_of_lanes){done, y * l->conv->window.stride_h * l->pitch + x, some};
        done += some;
    }
    return number;
}

/* The values of the outputs from pixel p on of an image in planes, of one group of channels. */
static void fill_from_planes(const lookup *l, int64_t p, int64_t count, int64_t group) {
    const held *planes = l->planes + group * (l->conv->channels / l->conv->groups) * l->plane;
    lane *to = (lane *)l->values;
    run_of_lanes runs[LINE_BYTES];
    const int64_t number = runs_of_lanes(l, p, count, runs);
    for (int64_t k = 0; k < l->K; k++, to += LANES) {
        const held *plane = planes + l->offsets[k];
        if (number == 1 && count == LANES) {
            for (int64_t i = 0; i < LANES; i++) to[i] = (lane)plane[runs[0].from + i];
            continue;
        }
        for (const run_of_lanes *run = runs; run < runs + number; run++)
            for (int64_t i = 0; i < run->count; i++)
                to[run->lane_at + i] = (lane)plane[run->from + i];
    }
}

/* The values of rows [m, m + count) of a matrix. */
static void fill_from_rows(const lookup *l, int64_t m, int64_t count) {
    const int64_t K = l->K;
    const given *row = l->x + m * K;
    lane *values = (lane *)l->values;
    for (int64_t r = 0; r < count; r++, row += K)
        for (int64_t k = 0; k < K; k++)
            values[k * LANES + r] = (lane)(held)CONVERT(row[k], l->map);
}

static void fill_offsets(const lookup *l) {
    const bnn_window *w = &l->conv->window;
    const int64_t channels = l->conv->channels / l->conv->groups;
    int64_t *offset = l->offsets;
    for (int64_t r = 0; r < w->kernel_h; r++)
        for (int64_t s = 0; s < w->kernel_w; s++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t column = s * w->dilation_w;
                *offset++ = c * l->plane +
                            (column % w->stride_w * l->rows + r * w->dilation_h) * l->pitch +
                            column / w->stride_w;
            }
}

/* Is a convolution a product of a matrix, its images being single pixels? */
static int is_matrix(const bnn_conv *conv) {
    const bnn_window *w = &conv->window;
    return w->height == 1 && w->width == 1 && w->kernel_h == 1 && w->kernel_w == 1 &&
           conv->groups == 1 && !w->pad_top && !w->pad_left && !w->pad_bottom && !w->pad_right;
}

static void *unset_lines(int64_t count) {
    return aligned_alloc(LINE_BYTES, (size_t)count * LINE_BYTES);
}

static void *lines(int64_t count) {
    void *memory = unset_lines(count);
    if (memory != NULL) memset(memory, 0, (size_t)count * LINE_BYTES);
    return memory;
}

static void end_lookup(lookup *l) {
    free(l->planes);
    free(l->offsets);
    free(l->values);
    free(l->tables);
}

/* Fill all but x, pad and map; values past K stay 0. */
static int start_lookup(lookup *l, const bnn_conv *conv, const uint64_t *panels) {
    const bnn_window *w = &conv->window;
    l->conv = conv, l->panels = panels;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_LOOKUP, &l->out_h, &l->out_w));
    l->K = bnn_conv_K(conv), l->words = bnn_words(l->K);
    l->group_words = bnn_panel_words(conv->out_channels / conv->groups, l->words, PANEL);
    l->rows = w->height + w->pad_top + w->pad_bottom;
    l->pitch = (w->width + w->pad_left + w->pad_right + w->stride_w - 1) / w->stride_w;
    BNN_TRY(bnn_check_size(l->rows, l->pitch * w->stride_w, conv->channels, 1));
    l->plane = w->stride_w * l->rows * l->pitch;
    l->planes = malloc((size_t)(conv->channels * l->plane) * sizeof *l->planes);
    l->offsets = malloc((size_t)l->K * sizeof *l->offsets);
    l->values = lines(l->words * BNN_WORD_BITS);
    l->tables = unset_lines(TABLE_LINES);
    if (!l->planes || !l->offsets || !l->values || !l->tables) return BNN_ERR_MEMORY;
    fill_offsets(l);
    return BNN_OK;
}

/* Every LANES output positions of a call; a matrix by rows is read where it lies. */
static void each_block(const lookup *l, const target *to) {
    const bnn_window *w = &l->conv->window;
    const int64_t size = w->height * w->width * l->conv->channels, pixels = l->out_h * l->out_w;
    for (int64_t m = 0; is_matrix(l->conv) && m < w->batch; m += LANES) {
        const int64_t count = bnn_min(LANES, w->batch - m);
        if (BY_ROWS(l, count)) {
            multiply_rows(l, to, 0, m, count);
        } else {
            fill_from_rows(l, m, count);
            multiply(l, to, 0, m, count);
        }
    }
    for (int64_t i = 0; !is_matrix(l->conv) && i < w->batch; i++) {
        fill_planes(l, l->x + i * size);
        for (int64_t g = 0; g < l->conv->groups; g++)
            for (int64_t p = 0; p < pixels; p += LANES) {
                const int64_t count = bnn_min(LANES, pixels - p);
                fill_from_planes(l, p, count, g);
                (BY_ROWS(l, count) ? multiply_rows : multiply)(l, to, g, i * pixels + p, count);
            }
    }
}

#endif
