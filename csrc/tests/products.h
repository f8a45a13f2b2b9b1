/* Tests of bit products and convolutions: their sums, the bits of thresholds, cuts for threads. */
#ifndef BNNSIM_PRODUCTS_H
#define BNNSIM_PRODUCTS_H

#include <stdio.h>

#include "naive.h"

static void require(int holds, const bnn_kernel *kernel, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", kernel->symbol, what);
    exit(1);
}

static void finish(problem *p, const bnn_kernel *kernel, int status) {
    require(status == BNN_OK, kernel, bnn_status_text(status));
    for (int64_t i = 0; i < p->positions * p->conv.out_channels; i++)
        require(p->out[i] == naive_output(p, i), kernel, "wrong accumulator");
    free(p->x);
    free(p->w);
    free(p->out);
}

/* Panels of all groups, one after the other, as the kernel's tile wants them. */
static uint64_t *new_panels(const problem *p, const uint64_t *plain, const bnn_kernel *kernel) {
    const int64_t N = p->conv.out_channels / p->conv.groups;
    const int64_t words = p->taps * bnn_words(p->per_group);
    const int64_t each = bnn_panel_words(N, words, kernel->tile_n);
    uint64_t *panels = fresh(each * p->conv.groups, sizeof *panels);
    for (int64_t g = 0; g < p->conv.groups; g++)
        bnn_pack_panels(plain + g * N * words, N, words, kernel->tile_n, panels + g * each);
    return panels;
}

static void test_bit(const bnn_kernel *kernel, int dense) {
    problem p = new_problem(dense, -1, 1, 1, -1, 1, 1);
    const int64_t N = p.conv.out_channels;
    uint64_t *x = pack_plane(p.x, p.pixels, p.conv.channels);
    uint64_t *w = pack_plane(p.w, N * p.taps, p.per_group);
    uint64_t *panels = new_panels(&p, w, kernel);
    int32_t *sums = fresh(p.taps * N, sizeof *sums);
    bnn_tap_sums(w, N, p.taps, p.per_group, sums);
    finish(&p, kernel,
           dense ? ((bnn_gemm_bit_fn *)kernel->function)(x, panels, p.pixels, N, p.per_group, p.out)
                 : ((bnn_conv2d_bit_fn *)kernel->function)(x, panels, sums, &p.conv, (int)p.pad,
                                                           p.out));
    free(x), free(w), free(panels), free(sums);
}

/* The bits of the problem's sums under random thresholds near its most common sums. */
static void test_bit_threshold(const bnn_kernel *kernel, int dense) {
    problem p = new_problem(dense, -1, 1, 1, -1, 1, 1);
    const int64_t N = p.conv.out_channels, K = p.taps * p.per_group, words = bnn_words(N);
    uint64_t *x = pack_plane(p.x, p.pixels, p.conv.channels);
    uint64_t *w = pack_plane(p.w, N * p.taps, p.per_group);
    uint64_t *panels = new_panels(&p, w, kernel), *flips = fresh(words, 8);
    uint64_t *out = fresh(p.positions * words, 8);
    int32_t *sums = fresh(p.taps * N, sizeof *sums);
    int64_t *t = random_values(N, -9, 9, 0), *sign = random_values(N, -1, 1, 1);
    int64_t *margins = fresh(N, 8), *met = fresh(p.positions * N, 8);
    if (N > 2) t[0] = INT32_MIN, t[1] = INT32_MAX;
    int32_t *t32 = narrow(t, N, BNN_INT32);
    int8_t *sign8 = narrow(sign, N, BNN_INT8);
    const bnn_limits limits = {margins, flips, 1, N, 0};
    bnn_tap_sums(w, N, p.taps, p.per_group, sums);
    memset(out, 0xa5, (size_t)(p.positions * words) * 8);
    for (int64_t i = 0; i < p.positions * N; i++) {
        const int64_t acc = naive_output(&p, i);
        met[i] = sign[i % N] > 0 ? acc >= t[i % N] : acc <= t[i % N];
    }
    uint64_t *expected = pack_plane(met, p.positions, N);
    int status = bnn_pack_limits(t32, sign8, N, K, margins, flips);
    require(status == BNN_OK, kernel, "limits");
    status = dense ? ((bnn_gemm_bit_threshold_fn *)kernel->function)(x, panels, &limits, p.pixels,
                                                                     N, K, out)
                   : ((bnn_conv2d_bit_threshold_fn *)kernel->function)(x, panels, sums, &limits,
                                                                       &p.conv, (int)p.pad, out);
    require(status == BNN_OK, kernel, bnn_status_text(status));
    require(!memcmp(out, expected, (size_t)(p.positions * words) * 8), kernel, "wrong bits");
    free(x), free(w), free(panels), free(flips), free(out), free(sums), free(t), free(sign);
    free(margins), free(met), free(t32), free(sign8), free(expected);
    free(p.x), free(p.w), free(p.out);
}

/* One call of a problem over bits, as bnn_run takes it. */
static bnn_call bit_call(const problem *p, const bnn_kernel *kernel, int dense, const void *x,
                         const void *panels, const int32_t *sums) {
    const int64_t words = bnn_words(p->conv.channels), N = p->conv.out_channels;
    bnn_call c = {.kernel = kernel, .x = x, .weights = panels, .out = p->out};
    if (dense) {
        c.M = p->pixels, c.N = N, c.K = p->per_group;
        c.x_bytes = 8 * words, c.out_bytes = 4 * N;
        return c;
    }
    c.tap_sums = sums, c.pad_value = (int32_t)p->pad, c.conv = p->conv;
    c.x_bytes = 8 * words * p->conv.window.width, c.out_bytes = 4 * N * p->out_w;
    return c;
}

static int times_index(const void *context, int64_t index) {
    (*(int64_t *const *)context)[index] += index + 1;
    return index == 77 ? BNN_ERR_VALUE : BNN_OK;
}

/* Every part once; every cut of a product and a convolution gives the whole. */
static void test_threads(const bnn_kernel *kernel, int dense, int threads) {
    problem p = new_problem(dense, -1, 1, 1, -1, 1, 1);
    const int64_t N = p.conv.out_channels;
    uint64_t *x = pack_plane(p.x, p.pixels, p.conv.channels);
    uint64_t *w = pack_plane(p.w, N * p.taps, p.per_group);
    uint64_t *panels = new_panels(&p, w, kernel);
    int32_t *sums = fresh(p.taps * N, sizeof *sums);
    int64_t *counts = fresh(100, sizeof *counts);
    bnn_tap_sums(w, N, p.taps, p.per_group, sums);
    const bnn_call call = bit_call(&p, kernel, dense, x, panels, sums);
    require(bnn_parallel(threads, 77, times_index, &counts) == BNN_OK, kernel, "parts");
    require(bnn_parallel(threads, 78, times_index, &counts) == BNN_ERR_VALUE, kernel, "status");
    for (int64_t i = 0; i < 77; i++) require(counts[i] == 2 * (i + 1), kernel, "part not run once");
    finish(&p, kernel, bnn_run_parts(&call, threads));
    free(x), free(w), free(panels), free(sums), free(counts);
}

#endif
