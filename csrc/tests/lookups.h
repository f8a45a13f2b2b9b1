/* Tests of the kernels that look sums up: bytes through a map, x bit weights, and of floats. */
#ifndef BNNSIM_LOOKUPS_H
#define BNNSIM_LOOKUPS_H

#include "naive.h"
#include "products.h"

/* Panels over whole dot products, group after group. */
static uint64_t *new_lookup_panels(const problem *p, const bnn_kernel *kernel) {
    const int64_t N = p->conv.out_channels / p->conv.groups, K = p->taps * p->per_group;
    const int64_t words = bnn_words(K), each = bnn_panel_words(N, words, kernel->tile_n);
    uint64_t *plain = pack_plane(p->w, p->conv.out_channels, K);
    uint64_t *panels = fresh(each * p->conv.groups, 8);
    for (int64_t g = 0; g < p->conv.groups; g++)
        bnn_pack_panels(plain + g * N * words, N, words, kernel->tile_n, panels + g * each);
    free(plain);
    return panels;
}

/* Random bytes and what they stand for, which becomes the problem's values. */
static uint8_t *new_mapped(problem *p, int16_t map[256]) {
    const int64_t count = p->pixels * p->conv.channels;
    uint8_t *bytes = fresh(count, 1);
    for (int i = 0; i < 256; i++)
        map[i] = (int16_t)(i < 2 ? BNN_MAX_LOOKUP * (2 * i - 1)
                                 : random_between(-BNN_MAX_LOOKUP, BNN_MAX_LOOKUP));
    for (int64_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)random_word();
        p->x[i] = map[bytes[i]];
    }
    p->pad = random_between(-BNN_MAX_LOOKUP, BNN_MAX_LOOKUP);
    return bytes;
}

static bnn_call lookup_call(const problem *p, const bnn_kernel *kernel, const void *x,
                            int64_t element, const void *panels) {
    return (bnn_call){.kernel = kernel, .x = x, .weights = panels, .conv = p->conv,
                      .pad_value = (int32_t)p->pad, .out = p->out,
                      .x_bytes = element * p->conv.channels * p->conv.window.width};
}

static void test_byte_bit(const bnn_kernel *kernel, int dense, int threads) {
    problem p = new_problem(dense, 0, 1, 0, -1, 1, 1);
    int16_t map[256];
    uint8_t *x = new_mapped(&p, map);
    uint64_t *panels = new_lookup_panels(&p, kernel);
    bnn_call call = lookup_call(&p, kernel, x, 1, panels);
    call.weights2 = map, call.out_bytes = 4 * p.conv.out_channels * p.out_w;
    bnn_byte_bit_fn *function = (bnn_byte_bit_fn *)kernel->function;
    map[7] = BNN_MAX_LOOKUP + 1;
    require(function(x, map, panels, &p.conv, 0, p.out) == BNN_ERR_VALUE, kernel, "map accepted");
    map[7] = 0;
    for (int64_t i = 0; i < p.pixels * p.conv.channels; i++) p.x[i] = map[x[i]];
    finish(&p, kernel, bnn_run_parts(&call, threads));
    free(x), free(panels);
}

static void test_byte_bit_threshold(const bnn_kernel *kernel, int dense, int threads) {
    problem p = new_problem(dense, 0, 1, 0, -1, 1, 1);
    const int64_t N = p.conv.out_channels, K = p.taps * p.per_group, words = bnn_words(N);
    int16_t map[256];
    uint8_t *x = new_mapped(&p, map);
    uint64_t *panels = new_lookup_panels(&p, kernel), *flips = fresh(words, 8);
    uint64_t *out = fresh(p.positions * words, 8);
    int64_t *margins = fresh(N, 8), *met = fresh(p.positions * N, 8);
    int64_t *sign = random_values(N, -1, 1, 1), *t = fresh(N, 8);
    for (int64_t n = 0; n < N; n++) /* a sum that occurs, or one beside it */
        t[n] = naive_output(&p, random_between(0, p.positions - 1) * N + n) + random_between(-1, 1);
    if (N > 2) t[0] = INT32_MIN, t[1] = INT32_MAX;
    for (int64_t i = 0; i < p.positions * N; i++) {
        const int64_t acc = naive_output(&p, i);
        met[i] = sign[i % N] > 0 ? acc >= t[i % N] : acc <= t[i % N];
    }
    uint64_t *expected = pack_plane(met, p.positions, N);
    int32_t *t32 = narrow(t, N, BNN_INT32);
    int8_t *sign8 = narrow(sign, N, BNN_INT8);
    bnn_pack_limits(t32, sign8, N, K, margins, flips);
    memset(out, 0xa5, (size_t)(p.positions * words) * 8);
    bnn_call call = lookup_call(&p, kernel, x, 1, panels);
    call.weights2 = map, call.out_bytes = 8 * words * p.out_w, call.out = out;
    call.limits = (bnn_limits){.margins = margins, .flips = flips};
    require(bnn_run_parts(&call, threads) == BNN_OK, kernel, "status");
    require(!memcmp(out, expected, (size_t)(p.positions * words) * 8), kernel, "wrong bits");
    free(x), free(panels), free(flips), free(out), free(margins), free(met), free(sign), free(t);
    free(expected), free(t32), free(sign8), free(p.x), free(p.w), free(p.out);
}

/* Panels of float or double weights over whole dot products, group after group. */
static void *new_float_panels(const problem *p, int64_t tile, int single) {
    const int64_t N = p->conv.out_channels / p->conv.groups, K = p->taps * p->per_group;
    const int64_t padded = (N + tile - 1) / tile * tile;
    double *doubles = fresh(padded * p->conv.groups * K, sizeof *doubles);
    float *floats = fresh(padded * p->conv.groups * K, sizeof *floats);
    for (int64_t i = 0; i < p->conv.out_channels * K; i++) {
        const int64_t n = i / K % N, g = i / K / N, k = i % K;
        const int64_t at = (g * padded + n / tile * tile) * K + k * tile + n % tile;
        doubles[at] = (double)p->w[i], floats[at] = (float)p->w[i];
    }
    free(single ? (void *)doubles : (void *)floats);
    return single ? (void *)floats : (void *)doubles;
}

/* Whole numbers whose sums are exact, in double of 24 bits each, and which round to float. */
static void test_floats(const bnn_kernel *kernel, int dense, int threads) {
    const int op = kernel->op_id, type = random_between(0, 1) ? BNN_FLOAT32 : BNN_FLOAT64;
    const int bits = op == BNN_OP_float_bit || op == BNN_OP_float_bit_single;
    const int single = op == BNN_OP_float_bit_single || op == BNN_OP_float_float_single;
    const int64_t most = single ? 1 << 10 : 1 << 24, w_most = bits ? 1 : 9;
    problem p = new_problem(dense, -most, most, 0, -w_most, w_most, bits);
    const int64_t N = p.conv.out_channels, element = type == BNN_FLOAT32 ? 4 : 8;
    float *x = narrow(p.x, p.pixels * p.conv.channels, BNN_FLOAT32);
    void *panels = bits ? (void *)new_lookup_panels(&p, kernel)
                        : new_float_panels(&p, kernel->tile_n, single);
    void *out = fresh(p.positions * N, (size_t)element);
    bnn_call call = lookup_call(&p, kernel, x, 4, panels);
    call.out = out, call.out_bytes = element * N * p.out_w, call.out_type = type;
    require(bnn_run_parts(&call, threads) == BNN_OK, kernel, "status");
    for (int64_t i = 0; i < p.positions * N; i++) {
        const double got = type == BNN_FLOAT32 ? ((float *)out)[i] : ((double *)out)[i];
        const double sum = (double)naive_output(&p, i);
        require(got == (type == BNN_FLOAT32 ? (double)(float)sum : sum), kernel, "wrong sum");
    }
    call.out_type = BNN_INT8;
    require(bnn_run_parts(&call, threads) == BNN_ERR_DTYPE, kernel, "type accepted");
    free(x), free(panels), free(out), free(p.x), free(p.w), free(p.out);
}

static void test_lookup(const bnn_kernel *kernel) {
    const int dense = (int)random_between(0, 1), threads = (int)random_between(1, 4);
    switch (kernel->op_id) {
    case BNN_OP_byte_bit: test_byte_bit(kernel, dense, threads); break;
    case BNN_OP_byte_bit_threshold: test_byte_bit_threshold(kernel, dense, threads); break;
    default: test_floats(kernel, dense, threads);
    }
}

#endif
