/*
 * Bit products and convolutions over a grid of edges instead of at random: sizes around words and
 * tiles, primes, every kind of window, values that are random, all +1, all -1 or alternating, whole
 * and cut for threads. Expected is what the ref kernel says, which test_kernels.c holds against
 * naive.h.
 */
#ifndef BNNSIM_GRID_H
#define BNNSIM_GRID_H

#include "products.h"

enum pattern { RANDOM, PLUS, MINUS, ALTERNATING, PATTERNS };

static void fill_pattern(int64_t *values, int64_t count, int pattern) {
    for (int64_t i = 0; i < count; i++)
        switch (pattern) {
        case RANDOM: values[i] = random_word() & 1 ? 1 : -1; break;
        case ALTERNATING: values[i] = i & 1 ? 1 : -1; break;
        default: values[i] = pattern == PLUS ? 1 : -1;
        }
}

static problem grid_problem(bnn_conv conv, int pattern, int64_t pad) {
    problem p = {.conv = conv, .pad = pad};
    const bnn_window *g = &p.conv.window;
    if (bnn_conv_out(&p.conv, &p.out_h, &p.out_w) != BNN_OK) abort();
    p.per_group = conv.channels / conv.groups;
    p.pixels = g->batch * g->height * g->width;
    p.taps = g->kernel_h * g->kernel_w;
    p.positions = g->batch * p.out_h * p.out_w;
    p.x = fresh(p.pixels * conv.channels, sizeof *p.x);
    p.w = fresh(conv.out_channels * p.taps * p.per_group, sizeof *p.w);
    fill_pattern(p.x, p.pixels * conv.channels, pattern);
    fill_pattern(p.w, conv.out_channels * p.taps * p.per_group, (int)(random_word() % PATTERNS));
    p.out = fresh(p.positions * conv.out_channels, sizeof *p.out);
    return p;
}

/* A problem as the kernels take it. */
typedef struct operands {
    uint64_t *x, *w, *flips;
    int32_t *sums;
    int64_t *margins, row_bytes;
    int dense;
} operands;

static operands pack_problem(const problem *p, const bnn_kernel *kernel) {
    const int64_t N = p->conv.out_channels;
    const int to_bits = kernel->op_id == BNN_OP_gemm_bit_threshold ||
                        kernel->op_id == BNN_OP_conv2d_bit_threshold;
    operands o = {.x = pack_plane(p->x, p->pixels, p->conv.channels),
                  .w = pack_plane(p->w, N * p->taps, p->per_group),
                  .flips = fresh(bnn_words(N), 8),
                  .sums = fresh(p->taps * N, sizeof *o.sums),
                  .margins = fresh(N, 8),
                  .row_bytes = to_bits ? 8 * bnn_words(N) : 4 * N,
                  .dense = kernel->op_id == BNN_OP_gemm_bit ||
                           kernel->op_id == BNN_OP_gemm_bit_threshold};
    int32_t *t = fresh(N, sizeof *t);
    int8_t *direction = fresh(N, 1);
    for (int64_t n = 0; n < N; n++) {
        t[n] = (int32_t)random_between(-9, 9);
        direction[n] = random_word() & 1 ? 1 : -1;
    }
    bnn_tap_sums(o.w, N, p->taps, p->per_group, o.sums);
    bnn_pack_limits(t, direction, N, p->taps * p->per_group, o.margins, o.flips);
    free(t), free(direction);
    return o;
}

/* What a kernel makes of it: 0 threads call it as it is, others its parts. */
static void *grid_result(const problem *p, const operands *o, const bnn_kernel *kernel,
                         int threads) {
    uint64_t *panels = new_panels(p, o->w, kernel);
    bnn_call call = bit_call(p, kernel, o->dense, o->x, panels, o->sums);
    call.out = fresh(p->positions * o->row_bytes, 1);
    call.limits = (bnn_limits){.margins = o->margins, .flips = o->flips};
    call.x_bytes = o->dense ? 8 * bnn_words(p->per_group) : call.x_bytes;
    call.out_bytes = o->dense ? o->row_bytes : o->row_bytes * p->out_w;
    const int status = threads == 0 ? bnn_run(&call, 1) : bnn_run_parts(&call, threads);
    require(status == BNN_OK, kernel, bnn_status_text(status));
    free(panels);
    return call.out;
}

static void hold_to_ref(const bnn_kernel *kernel, bnn_conv conv, int pattern, int64_t pad) {
    problem p = grid_problem(conv, pattern, pad);
    operands o = pack_problem(&p, kernel);
    void *expected = grid_result(&p, &o, bnn_select(kernel->op_id, 0), 0);
    for (int threads = 0; threads <= 3; threads++) {
        void *got = grid_result(&p, &o, kernel, threads);
        require(!memcmp(got, expected, (size_t)(p.positions * o.row_bytes)), kernel, "wrong in grid");
        free(got);
    }
    free(expected), free(o.x), free(o.w), free(o.flips), free(o.sums), free(o.margins);
    free(p.x), free(p.w), free(p.out);
}

/* Edges of words, of this kernel's tile, and two primes; ends with 0. */
static void sizes_of(int64_t tile, int64_t sizes[13]) {
    const int64_t all[] = {1, 63, 64, 65, 127, 128, 129, tile > 1 ? tile - 1 : 2,
                           tile, tile + 1, 37, 97, 0};
    memcpy(sizes, all, sizeof all);
}

static void grid_of_products(const bnn_kernel *kernel) {
    static const int64_t depths[] = {1, 63, 64, 65, 127, 128, 129, 61, 257, 0};
    int64_t rows[13], columns[13];
    int turn = 0;
    sizes_of(kernel->tile_m, rows), sizes_of(kernel->tile_n, columns);
    for (const int64_t *M = rows; *M; M++)
        for (const int64_t *N = columns; *N; N++)
            for (const int64_t *K = depths; *K; K++) {
                const bnn_window window = {*M, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
                const bnn_conv conv = {window, *K, *N, 1};
                hold_to_ref(kernel, conv, turn++ % PATTERNS, 0);
            }
}

static void grid_of_windows(const bnn_kernel *kernel) {
    static const int64_t kernels[] = {1, 2, 3, 5}, shapes[][3] = {{64, 33, 1}, {65, 8, 1}, {6, 6, 3},
                                                                  {130, 70, 2}, {5, 5, 5}};
    int turn = 0;
    for (int i = 0; i < 4 * 5; i++)
        for (int64_t stride = 1; stride <= 3; stride++)
            for (int64_t dilation = 1; dilation <= 2; dilation++)
                for (int64_t pads = 0; pads < 16; pads += 5) { /* none, one side, others, all */
                    const int64_t k = kernels[i % 4], *shape = shapes[i / 4];
                    const bnn_window window = {1, 9, 10, k, k > 3 ? 3 : k, stride, 1 + stride % 2,
                                               dilation, 1, pads & 1 ? 2 : 0, pads & 2 ? 1 : 0,
                                               pads & 4 ? 1 : 0, pads & 8 ? 3 : 0};
                    const bnn_conv conv = {window, shape[0], shape[1], shape[2]};
                    hold_to_ref(kernel, conv, turn % PATTERNS, turn % 3 - 1);
                    turn++;
                }
}

static void grid_of_channels(const bnn_kernel *kernel) {
    int64_t channels[13], outs[13];
    int turn = 0;
    sizes_of(1, channels), sizes_of(kernel->tile_n, outs);
    for (const int64_t *C = channels; *C; C++)
        for (const int64_t *N = outs; *N; N++, turn++) {
            const bnn_window window = {2, 3, 4 + turn % 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
            hold_to_ref(kernel, (bnn_conv){window, *C, *N, 1}, turn % PATTERNS, turn % 3 - 1);
        }
}

static void test_grid(const bnn_kernel *kernel) {
    switch (kernel->op_id) {
    case BNN_OP_gemm_bit:
    case BNN_OP_gemm_bit_threshold: grid_of_products(kernel); break;
    case BNN_OP_conv2d_bit:
    case BNN_OP_conv2d_bit_threshold: grid_of_windows(kernel), grid_of_channels(kernel); break;
    default: break;
    }
}

#endif
