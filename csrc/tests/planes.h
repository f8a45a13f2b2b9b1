/* Tests of products of planes: every kind of operand, against naive.h. */
#ifndef BNNSIM_TEST_PLANES_H
#define BNNSIM_TEST_PLANES_H

#include "products.h"

/* A grid of activations, and the kind of the weights. */
static bnn_planes random_planes(void) {
    static const int32_t lows[] = {0, -1, -128};
    bnn_planes planes = {.x_bits = (int)random_between(1, 4), .w_bits = (int)random_between(1, 4)};
    planes.masked = (int)random_between(0, 1);
    planes.step = (int32_t)random_between(1, 2);
    planes.low = planes.step == 2 ? 1 - (1 << planes.x_bits) : lows[random_between(0, 2)];
    return planes;
}

/* Ternaries by ternaries. */
static const bnn_planes TERNARIES = {.x_bits = 2, .w_bits = 1, .masked = 1, .low = -1, .step = 1};

/* Change random values into values of the grids, mostly at random, sometimes all at an end. */
static void onto_grids(problem *p, const bnn_planes *planes) {
    const int64_t x_top = (1 << planes->x_bits) - 1, w_top = (1 << planes->w_bits) - 1;
    const int64_t way = random_between(0, 5);
    for (int64_t i = 0; i < p->pixels * p->conv.channels; i++) {
        const int64_t u = way == 0 ? 0 : way == 1 ? x_top : way == 2 ? (i % 2) * x_top
                                                                     : random_between(0, x_top);
        p->x[i] = planes->low + planes->step * u;
    }
    for (int64_t i = 0; i < p->conv.out_channels * p->taps * p->per_group; i++) {
        const int64_t w = way < 3 ? (i % 3 ? w_top : -w_top) : random_between(-w_top, w_top);
        p->w[i] = planes->masked || w % 2 != 0 ? w : w + (w < 0 ? 1 : -1);
        if (!planes->masked && w == 0) p->w[i] = 1;
    }
    p->pad = random_between(planes->low, planes->low + planes->step * x_top);
}

/* Everything that a kernel reads, of one problem. */
typedef struct operand_planes {
    bnn_planes planes;
    uint64_t *x, *rows, *panels;
    int32_t *tap_sums, *plus;
} operand_planes;

static void pack_operands(const problem *p, const bnn_kernel *kernel, operand_planes *o) {
    const int64_t words = bnn_words(p->conv.channels) * p->pixels, N = p->conv.out_channels;
    const int64_t row = bnn_plane_words(&o->planes, p->taps * bnn_words(p->per_group));
    const int64_t per_group = N / p->conv.groups;
    const int64_t each = bnn_panel_words(per_group, row, kernel->tile_n);
    int16_t *x = narrow(p->x, p->pixels * p->conv.channels, BNN_INT16);
    int16_t *w = narrow(p->w, N * p->taps * p->per_group, BNN_INT16);
    o->x = fresh(words * o->planes.x_bits, 8);
    o->rows = fresh(N * row, 8), o->panels = fresh(each * p->conv.groups, 8);
    o->tap_sums = fresh(p->taps * N, 4), o->plus = fresh(N, 4);
    const int64_t images = p->conv.window.batch, pixels = p->pixels / images;
    o->planes.x_stride = words / images, o->planes.plus = o->plus;
    int status = bnn_pack_planes_ref(x, BNN_INT16, &o->planes, images, pixels, p->conv.channels,
                                     o->x);
    require(status == BNN_OK, kernel, "activations");
    status = bnn_pack_plane_weights(w, N, p->taps, p->per_group, o->planes.w_bits,
                                    o->planes.masked, o->rows, o->tap_sums, o->plus);
    require(status == BNN_OK, kernel, "weights");
    for (int64_t g = 0; g < p->conv.groups; g++)
        bnn_pack_panels(o->rows + g * per_group * row, per_group, row, kernel->tile_n,
                        o->panels + g * each);
    free(x), free(w);
}

static void free_operands(operand_planes *o) {
    free(o->x), free(o->rows), free(o->panels), free(o->tap_sums), free(o->plus);
}

static problem plane_problem(int dense, const bnn_kernel *kernel, bnn_planes grids,
                             operand_planes *o) {
    problem p = new_problem(dense, 0, 0, 0, 0, 0, 0);
    o->planes = grids;
    onto_grids(&p, &o->planes);
    pack_operands(&p, kernel, o);
    return p;
}

static bnn_call plane_call(const problem *p, const bnn_kernel *kernel, int dense,
                           const operand_planes *o) {
    bnn_call c = bit_call(p, kernel, dense, o->x, o->panels, o->tap_sums);
    c.tap_sums = o->tap_sums;
    c.planes = o->planes;
    if (dense) c.x_bytes *= o->planes.x_bits; /* a row is an image with all its planes */
    return c;
}

static void test_planes(const bnn_kernel *kernel, int dense, bnn_planes grids) {
    operand_planes o;
    problem p = plane_problem(dense, kernel, grids, &o);
    const bnn_call call = plane_call(&p, kernel, dense, &o);
    if (random_between(0, 1))
        finish(&p, kernel, bnn_run(&call, 1));
    else
        finish(&p, kernel, bnn_run_parts(&call, (int)random_between(2, 4)));
    free_operands(&o);
}

/* Thresholds between the problem's sums, some never met, some fewer than the levels have. */
static int32_t *thresholds_among(const problem *p, int64_t count) {
    const int64_t N = p->conv.out_channels;
    int32_t *t = fresh(N * count, sizeof *t);
    for (int64_t i = 0; i < N * count; i++) {
        const int64_t at = random_between(0, p->positions - 1) * N + i / count;
        t[i] = (int32_t)(naive_output(p, at) + random_between(-1, 1));
    }
    t[0] = INT32_MIN, t[N * count - 1] = INT32_MAX;
    return t;
}

static void test_planes_threshold(const bnn_kernel *kernel, int dense, bnn_planes grids) {
    operand_planes o;
    problem p = plane_problem(dense, kernel, grids, &o);
    const int bits = (int)random_between(1, 3);
    const int64_t N = p.conv.out_channels, words = bnn_words(N), plane = p.positions * words;
    const int64_t count = random_between(1, (1 << bits) - 1);
    int32_t *t = thresholds_among(&p, count), *bases = fresh(N, 4);
    int64_t *sign = random_values(N, -1, 1, 1), *margins = fresh(N * ((1 << bits) - 1), 8);
    int8_t *sign8 = narrow(sign, N, BNN_INT8);
    uint64_t *flips = fresh(words, 8), *out = fresh(plane * bits, 8);
    bnn_plane_bases(&o.planes, o.tap_sums, N, p.taps, bases);
    require(bnn_pack_plane_limits(t, sign8, bases, &o.planes, N, count, bits, margins, flips) ==
                BNN_OK,
            kernel, "limits");
    memset(out, 0xa5, (size_t)(plane * bits) * 8);
    bnn_call call = plane_call(&p, kernel, dense, &o);
    call.limits = (bnn_limits){margins, flips, bits, N, plane / p.conv.window.batch};
    call.out = out;
    call.out_bytes = 8 * words * (dense ? bits : p.out_w);
    const int threads = (int)random_between(1, 3);
    const int status = threads == 1 ? bnn_run(&call, 1) : bnn_run_parts(&call, threads);
    require(status == BNN_OK, kernel, bnn_status_text(status));
    int64_t *level = fresh(p.positions * N, 8);
    for (int64_t i = 0; i < p.positions * N; i++) {
        const int64_t acc = naive_output(&p, i);
        for (int64_t j = i % N * count; j < (i % N + 1) * count; j++)
            level[i] += sign[i % N] > 0 ? acc >= t[j] : acc <= t[j];
    }
    const bnn_planes grid = {.x_bits = bits, .low = 0, .step = 1};
    uint64_t *expected = fresh(plane * bits, 8);
    int16_t *levels = narrow(level, p.positions * N, BNN_INT16);
    const int64_t images = p.conv.window.batch;
    bnn_pack_planes_ref(levels, BNN_INT16, &grid, images, p.positions / images, N, expected);
    require(!memcmp(out, expected, (size_t)(plane * bits) * 8), kernel, "wrong planes");
    free(expected), free(levels);
    free(t), free(bases), free(sign), free(margins), free(sign8), free(flips), free(out);
    free(level), free(p.x), free(p.w), free(p.out);
    free_operands(&o);
}

/* Every grid of every type there and back, and a value outside of it refused. */
static void test_packing_planes(const bnn_kernel *kernel) {
    const int type = (int)random_between(BNN_UINT8, BNN_INT16);
    const int bits = (int)random_between(1, type == BNN_INT8 ? 7 : 8), size = type == 2 ? 2 : 1;
    const int64_t images = random_between(1, 3), P = random_between(1, 4);
    const int64_t C = random_between(1, 200), count = images * P * C, words = bnn_words(C);
    const int32_t top = (1 << bits) - 1, step = type == BNN_UINT8 ? 1 : (int)random_between(1, 2);
    const int32_t low = type == BNN_UINT8 ? 0 : step == 2 ? -top : -(top + 1) / 2;
    const bnn_planes grid = {.x_bits = bits, .low = low, .step = step};
    int64_t *u = random_values(count, 0, top, 0), *values = fresh(count, 8);
    const size_t bytes = (size_t)(images * bits * P * words) * 8;
    uint64_t *expected = fresh((int64_t)bytes, 1), *out = fresh((int64_t)bytes, 1);
    for (int64_t e = 0; e < count; e++) {
        values[e] = low + step * u[e];
        for (int b = 0; b < bits; b++)
            expected[((e / (P * C) * bits + b) * P + e / C % P) * words + e % C / 64] |=
                (uint64_t)(u[e] >> b & 1) << (e % C % 64);
    }
    char *typed = narrow(values, count, type), *back = fresh(count, (size_t)size);
    memset(out, 0xa5, bytes);
    if (kernel->op_id == BNN_OP_pack_planes) {
        bnn_pack_planes_fn *pack = (bnn_pack_planes_fn *)kernel->function;
        require(pack(typed, type, &grid, images, P, C, out) == BNN_OK, kernel, "status");
        require(!memcmp(out, expected, bytes), kernel, "wrong planes");
        const int64_t bad = random_between(0, count - 1);
        memset(typed + bad * size, type == BNN_UINT8 ? 255 : 127, (size_t)size);
        const int refused = bits < 7 || type == BNN_INT16;
        const int status = pack(typed, type, &grid, images, P, C, out);
        require(!refused || status == BNN_ERR_VALUE, kernel, "a value that is not on the grid");
    } else {
        bnn_unpack_planes_fn *unpack = (bnn_unpack_planes_fn *)kernel->function;
        require(unpack(expected, type, &grid, images, P, C, back) == BNN_OK, kernel, "status");
        require(!memcmp(back, typed, (size_t)(count * size)), kernel, "wrong values");
    }
    free(u), free(values), free(expected), free(out), free(typed), free(back);
}

/* The largest K for 8 x 8 bits, and one more; longer rows than a byte can count. */
static int planes_at_the_ends(const bnn_kernel *kernel) {
    const bnn_planes all = {.x_bits = 8, .w_bits = 8, .masked = 1, .low = 0, .step = 1};
    const int64_t K = INT32_MAX / (255 * 255), M = 5, N = 3;
    problem p = {.conv = {{M, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, K, N, 1}};
    operand_planes o = {.planes = all};
    p.pixels = M, p.taps = 1, p.per_group = K, p.positions = M;
    p.x = fresh(M * K, 8), p.w = fresh(N * K, 8), p.out = fresh(M * N, 4);
    for (int64_t i = 0; i < M * K; i++) p.x[i] = i < K ? 255 : i % 256;
    for (int64_t i = 0; i < N * K; i++) p.w[i] = i < K ? 255 : -255;
    pack_operands(&p, kernel, &o);
    bnn_gemm_planes_fn *function = (bnn_gemm_planes_fn *)kernel->function;
    int right = function(o.x, o.panels, o.tap_sums, &o.planes, M, N, K, p.out) == BNN_OK;
    right &= p.out[0] == 255 * 255 * K && p.out[1] == -255 * 255 * K;
    right &= function(o.x, o.panels, o.tap_sums, &o.planes, M, N, K + 1, p.out) == BNN_ERR_K;
    o.planes.step = 3;
    right &= function(o.x, o.panels, o.tap_sums, &o.planes, M, N, 64, p.out) == BNN_ERR_VALUE;
    free_operands(&o);
    free(p.x), free(p.w), free(p.out);
    return right;
}

#endif
