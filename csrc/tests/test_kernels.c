/* Every kernel that this CPU runs, on random ragged sizes, against naive.h; exits 1 on a miss. */
#include <math.h>
#include <stdio.h>

#include "edges.h"
#include "floats.h"
#include "grid.h"
#include "lookups.h"
#include "naive.h"
#include "planes.h"
#include "products.h"
#include "programs.h"

#define ROUNDS 60

static void test_integer(const bnn_kernel *kernel, int dense, int bit_weights) {
    static const int64_t low[] = {0, -128, -32768, -(1 << 20)};
    static const int64_t high[] = {255, 127, 32767, 1 << 20};
    const int type = (int)random_between(BNN_UINT8, BNN_INT32);
    const int64_t w_end = bit_weights || type == BNN_INT32 ? 1 : 127;
    problem p = new_problem(dense, low[type], high[type], 0, -w_end, w_end, bit_weights);
    const int64_t N = p.conv.out_channels, count = N * p.taps * p.per_group;
    void *x = narrow(p.x, p.pixels * p.conv.channels, type);
    int8_t *ints = narrow(p.w, count, BNN_INT8);
    uint64_t *bits = pack_plane(p.w, N * p.taps, p.per_group);
    int status;
    p.pad *= 77;
    if (dense && bit_weights)
        status = ((bnn_gemm_int_bit_fn *)kernel->function)(x, type, bits, p.pixels, N, p.per_group,
                                                           p.out);
    else if (dense)
        status = ((bnn_gemm_int_fn *)kernel->function)(x, type, ints, p.pixels, N, p.per_group,
                                                       p.out);
    else if (bit_weights)
        status = ((bnn_conv2d_int_bit_fn *)kernel->function)(x, type, bits, &p.conv,
                                                             (int32_t)p.pad, p.out);
    else
        status = ((bnn_conv2d_int_fn *)kernel->function)(x, type, ints, &p.conv, (int32_t)p.pad,
                                                         p.out);
    finish(&p, kernel, status);
    free(x), free(ints), free(bits);
}

static void test_byte(const bnn_kernel *kernel, int dense) {
    const int type = (int)random_between(BNN_UINT8, BNN_INT8), low = type == BNN_INT8 ? -128 : 0;
    problem p = new_problem(dense, low, low + 255, 0, -128, 127, 0);
    const int64_t N = p.conv.out_channels / p.conv.groups, all = p.conv.out_channels;
    const int64_t each = bnn_byte_panel_size(N, p.taps, p.per_group, kernel->tile_n);
    void *x = narrow(p.x, p.pixels * p.conv.channels, type);
    int8_t *w = narrow(p.w, all * p.taps * p.per_group, BNN_INT8);
    int8_t *panels = fresh(each * p.conv.groups, 1);
    int32_t *sums = fresh(p.taps * all, sizeof *sums);
    p.pad = random_between(low, low + 255);
    for (int64_t g = 0; g < p.conv.groups; g++)
        bnn_pack_byte_panels(w + g * N * p.taps * p.per_group, N, p.taps, p.per_group,
                             kernel->tile_n, panels + g * each);
    bnn_byte_tap_sums(w, all, p.taps, p.per_group, sums);
    finish(&p, kernel,
           dense ? ((bnn_gemm_byte_fn *)kernel->function)(x, type, panels, sums, p.pixels, N,
                                                          p.per_group, p.out)
                 : ((bnn_conv2d_byte_fn *)kernel->function)(x, type, panels, sums, &p.conv,
                                                            (int32_t)p.pad, p.out));
    free(x), free(w), free(panels), free(sums);
}

static void test_threshold_pack(const bnn_kernel *kernel) {
    const int64_t P = random_between(1, 5), C = random_between(1, 200);
    int64_t *acc = random_values(P * C, -3, 3, 0), *t = random_values(C, -3, 3, 0);
    int64_t *sign = random_values(C, -1, 1, 1), *met = fresh(P * C, sizeof *met);
    int32_t *acc32 = narrow(acc, P * C, BNN_INT32), *t32 = narrow(t, C, BNN_INT32);
    int8_t *sign8 = narrow(sign, C, BNN_INT8);
    uint64_t *out = fresh(P * bnn_words(C), sizeof *out);
    for (int64_t i = 0; i < P * C; i++)
        met[i] = sign[i % C] > 0 ? acc[i] >= t[i % C] : acc[i] <= t[i % C];
    uint64_t *expected = pack_plane(met, P, C);
    require(((bnn_threshold_pack_fn *)kernel->function)(acc32, t32, sign8, P, C, out) == BNN_OK,
            kernel, "status");
    require(!memcmp(out, expected, (size_t)(P * bnn_words(C)) * 8), kernel, "wrong bits");
    free(acc), free(t), free(sign), free(met), free(acc32), free(t32), free(sign8), free(out),
        free(expected);
}

static void test_multi_threshold(const bnn_kernel *kernel) {
    const int64_t P = random_between(1, 5), C = random_between(1, 70), n = random_between(1, 15);
    int64_t *acc = random_values(P * C, -9, 9, 0), *t = random_values(C * n, -9, 9, 0);
    int64_t *sign = random_values(C, -1, 1, 1);
    int32_t *acc32 = narrow(acc, P * C, BNN_INT32), *t32 = narrow(t, C * n, BNN_INT32);
    int8_t *sign8 = narrow(sign, C, BNN_INT8), *out = fresh(P * C, 1);
    require(((bnn_multi_threshold_fn *)kernel->function)(acc32, t32, sign8, P, C, n, -8, out) ==
                BNN_OK,
            kernel, "status");
    for (int64_t i = 0; i < P * C; i++) {
        int level = -8;
        for (int64_t j = i % C * n; j < (i % C + 1) * n; j++)
            level += sign[i % C] > 0 ? acc[i] >= t[j] : acc[i] <= t[j];
        require(out[i] == level, kernel, "wrong level");
    }
    free(acc), free(t), free(sign), free(acc32), free(t32), free(sign8), free(out);
}

/* pack_sign and unpack_bit on the same rows. */
static void test_packing(const bnn_kernel *kernel) {
    static const int types[] = {BNN_INT8, BNN_INT32, BNN_FLOAT32};
    const int64_t P = random_between(1, 4), C = random_between(1, 200), words = P * bnn_words(C);
    const int type = types[random_between(0, 2)];
    int64_t *values = random_values(P * C, -1, 1, 1);
    uint64_t *bits = pack_plane(values, P, C), *packed = fresh(words, 8);
    int8_t *bytes = narrow(values, P * C, BNN_INT8), *unpacked = fresh(P * C, 1);
    void *typed = narrow(values, P * C, type);
    int status;
    if (kernel->op_id == BNN_OP_pack_sign) {
        memset(packed, 0xa5, (size_t)words * 8);
        status = ((bnn_pack_sign_fn *)kernel->function)(typed, type, P, C, packed);
        require(!memcmp(bits, packed, (size_t)words * 8), kernel, "wrong bits");
    } else {
        memset(unpacked, 5, (size_t)(P * C));
        status = ((bnn_unpack_bit_fn *)kernel->function)(bits, P, C, unpacked);
        require(!memcmp(bytes, unpacked, (size_t)(P * C)), kernel, "wrong values");
    }
    require(status == BNN_OK, kernel, bnn_status_text(status));
    free(values), free(bits), free(packed), free(bytes), free(unpacked), free(typed);
}

/* The published answers, and then every bit of a random tensor, one draw at a time. */
static void test_stochastic_pack(const bnn_kernel *kernel) {
    static const uint32_t zero[4], answer[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const int64_t P = random_between(1, 5), C = random_between(1, 200), words = P * bnn_words(C);
    const bnn_draws draws = {random_word(), (uint32_t)random_word(), (uint32_t)random_word(),
                             random_between(0, INT64_C(1) << 50), 1 << random_between(0, 4)};
    const uint32_t key[2] = {(uint32_t)draws.seed, (uint32_t)(draws.seed >> 32)};
    float *x = fresh(P * C, sizeof *x);
    int64_t *plus = fresh(P * C, sizeof *plus);
    uint64_t *out = fresh(words, 8);
    uint32_t block[4];
    naive_philox(zero, zero, block);
    require(!memcmp(block, answer, sizeof block), kernel, "naive Philox is not Philox");
    for (int64_t i = 0; i < P * C; i++) {
        const uint64_t e = (uint64_t)(draws.first + i), per = (uint64_t)(128 / draws.bits);
        const uint64_t at = e / per;
        const uint32_t counter[4] = {(uint32_t)at, (uint32_t)(at >> 32), draws.node, draws.sample};
        uint32_t u = 0;
        naive_philox(counter, key, block);
        for (int b = 0; b < draws.bits; b++) {
            const uint64_t bit = e % per * (uint64_t)draws.bits + (uint64_t)b;
            u |= (block[bit / 32] >> (bit % 32) & 1) << b;
        }
        x[i] = (float)random_between(-1200, 1200) / 1000.0f;
        float p = (x[i] + 1.0f) / 2.0f;
        p = p < 0 ? 0 : p > 1 ? 1 : p;
        plus[i] = u < (uint32_t)floorf(p * (float)(1 << draws.bits) + 0.5f);
    }
    uint64_t *expected = pack_plane(plus, P, C);
    bnn_stochastic_pack_fn *function = (bnn_stochastic_pack_fn *)kernel->function;
    require(function(x, &draws, P, C, out) == BNN_OK, kernel, "status");
    require(!memcmp(out, expected, (size_t)words * 8), kernel, "wrong bits");
    x[P * C - 1] = NAN;
    require(function(x, &draws, P, C, out) == BNN_ERR_NAN, kernel, "NaN accepted");
    const bnn_draws odd = {0, 0, 0, 0, 3};
    require(function(x, &odd, P, C, out) == BNN_ERR_VALUE, kernel, "3 bits accepted");
    free(x), free(plus), free(out), free(expected);
}

static void test_maxpool(const bnn_kernel *kernel, int on_bits) {
    bnn_window g = random_window(0);
    const int64_t C = random_between(1, 150), words = on_bits ? bnn_words(C) : C;
    const int type = (int)random_between(BNN_UINT8, BNN_INT32);
    int64_t out_h, out_w;
    g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 0;
    g.dilation_h = g.dilation_w = 1;
    if (g.kernel_h > 1 && g.kernel_w > 1) g.pad_top = g.pad_right = 1; /* never an empty window */
    if (bnn_window_out(&g, &out_h, &out_w) != BNN_OK) abort();
    const int64_t pixels = g.batch * g.height * g.width, positions = g.batch * out_h * out_w;
    int64_t *x = random_values(pixels * C, on_bits ? -1 : 0, on_bits ? 1 : 100, on_bits);
    int64_t *flip = random_values(C, -1, on_bits ? 1 : -1, 1), *best = fresh(positions * C, 8);
    for (int64_t i = 0; i < positions * C; i++) {
        const int64_t c = i % C, at = i / C, image = at / (out_h * out_w);
        int64_t largest = INT64_MIN;
        for (int64_t tap = 0; tap < g.kernel_h * g.kernel_w; tap++) {
            const int64_t y = at / out_w % out_h * g.stride_h - g.pad_top + tap / g.kernel_w;
            const int64_t v = at % out_w * g.stride_w - g.pad_left + tap % g.kernel_w;
            if (y < 0 || y >= g.height || v < 0 || v >= g.width) continue;
            /* AND of bits = the smallest = minus the largest of the negated */
            const int64_t value = x[((image * g.height + y) * g.width + v) * C + c] * -flip[c];
            largest = value > largest ? value : largest;
        }
        best[i] = largest * -flip[c];
    }
    void *in = on_bits ? (void *)pack_plane(x, pixels, C) : narrow(x, pixels * C, type);
    void *expected = on_bits ? (void *)pack_plane(best, positions, C)
                             : narrow(best, positions * C, type);
    uint64_t *use_and = pack_plane(flip, 1, C);
    static const size_t sizes[] = {1, 1, 2, 4};
    const size_t bytes = (size_t)(positions * words) * (on_bits ? 8 : sizes[type]);
    void *out = fresh((int64_t)bytes, 1);
    const int status =
        on_bits ? ((bnn_maxpool_bit_fn *)kernel->function)(in, use_and, &g, words, out)
                : ((bnn_maxpool_int_fn *)kernel->function)(in, type, &g, C, out);
    require(status == BNN_OK, kernel, bnn_status_text(status));
    require(!memcmp(out, expected, bytes), kernel, "wrong maximum");
    free(x), free(flip), free(best), free(in), free(expected), free(use_and), free(out);
}

static void test_scale(const bnn_kernel *kernel) {
    static const size_t sizes[] = {1, 1, 2, 4};
    static const int64_t low[] = {0, -128, -32768, INT32_MIN};
    static const int64_t high[] = {255, 127, 32767, INT32_MAX};
    const int type = (int)random_between(BNN_UINT8, BNN_INT32);
    const int to = (int)random_between(BNN_UINT8, BNN_INT32);
    const int64_t P = random_between(1, 9), C = random_between(1, 40);
    const int64_t period = random_between(1, 4), first = random_between(0, 9);
    const int64_t mul = random_between(-5, 5);
    int64_t *x = random_values(P * C, low[type], high[type], 0), *sums = fresh(P * C, 8);
    int64_t *offset = random_values(period * C, -(1 << 30), 1 << 30, 0);
    void *in = narrow(x, P * C, type), *out = fresh(P * C, sizes[to]);
    int32_t *offset32 = narrow(offset, period * C, BNN_INT32);
    for (int64_t i = 0; i < P * C; i++)
        sums[i] = mul * x[i] + offset[(first + i / C) % period * C + i % C];
    void *expected = narrow(sums, P * C, to); /* low bytes: modulo 2^32 and less */
    require(((bnn_scale_int_fn *)kernel->function)(in, type, (int32_t)mul, offset32, period, first,
                                                   P, C, out, to) == BNN_OK,
            kernel, "status");
    require(!memcmp(out, expected, (size_t)(P * C) * sizes[to]), kernel, "wrong value");
    free(x), free(sums), free(offset), free(in), free(out), free(offset32), free(expected);
}

/* Every choice of terms, on every type; the volatile keeps each step's rounding. */
static void test_affine(const bnn_kernel *kernel) {
    const int type = (int)random_between(BNN_UINT8, BNN_FLOAT32), which = (int)random_between(0, 7);
    const int64_t P = random_between(1, 5), C = random_between(1, 70);
    int64_t *values = random_values(P * C, type == BNN_UINT8 ? 0 : -100, 100, 0);
    void *x = narrow(values, P * C, type);
    float *terms = fresh(3 * C, sizeof *terms), *out = fresh(P * C, sizeof *out);
    for (int64_t i = 0; i < 3 * C; i++) terms[i] = (float)random_between(-999, 999) / 7.0f;
    bnn_affine_fn *function = (bnn_affine_fn *)kernel->function;
    require(function(x, type, terms, which, P, C, out) == BNN_OK, kernel, "status");
    for (int64_t i = 0; i < P * C; i++) {
        volatile float y = (float)values[i];
        if (which & BNN_SHIFT) y = y - terms[i % C];
        if (which & BNN_SCALE) y = y * terms[C + i % C];
        if (which & BNN_BIAS) y = y + terms[2 * C + i % C];
        require(out[i] == y, kernel, "wrong float");
    }
    require(function(x, type, terms, 8, P, C, out) == BNN_ERR_VALUE, kernel, "unknown term");
    free(values), free(x), free(terms), free(out);
}

static void test_raw_rate(const bnn_kernel *kernel) {
    double rate = 0.0;
    bnn_raw_rate_fn *function = (bnn_raw_rate_fn *)kernel->function;
    require(function(0.001, &rate) == BNN_OK && rate > 1e6, kernel, "no rate");
    require(function(-1.0, &rate) == BNN_ERR_VALUE, kernel, "negative time accepted");
    require(function(NAN, &rate) == BNN_ERR_VALUE, kernel, "NaN accepted");
}

/* One past the largest K is refused before anything is read. */
static void test_limit(const bnn_kernel *kernel) {
    int status = BNN_ERR_K;
    if (kernel->op_id == BNN_OP_gemm_bit)
        status = ((bnn_gemm_bit_fn *)kernel->function)(NULL, NULL, 1, 1, BNN_MAX_K_BIT + 1, NULL);
    else if (kernel->op_id == BNN_OP_gemm_bit_threshold)
        status = ((bnn_gemm_bit_threshold_fn *)kernel->function)(NULL, NULL, NULL, 1, 1,
                                                                 BNN_MAX_K_BIT + 1, NULL);
    else if (kernel->op_id == BNN_OP_gemm_planes)
        status = ((bnn_gemm_planes_fn *)kernel->function)(NULL, NULL, NULL, &TERNARIES, 1, 1,
                                                          BNN_MAX_K_BIT + 1, NULL);
    else if (kernel->op_id == BNN_OP_gemm_int)
        status = ((bnn_gemm_int_fn *)kernel->function)(NULL, BNN_INT8, NULL, 1, 1,
                                                       BNN_MAX_K_INT + 1, NULL);
    else if (kernel->op_id == BNN_OP_gemm_int_bit)
        status = ((bnn_gemm_int_bit_fn *)kernel->function)(NULL, BNN_INT8, NULL, 1, 1,
                                                           BNN_MAX_K_INT + 1, NULL);
    else if (kernel->op_id == BNN_OP_gemm_byte)
        status = ((bnn_gemm_byte_fn *)kernel->function)(NULL, BNN_INT8, NULL, NULL, 1, 1,
                                                        BNN_MAX_K_BYTE + 1, NULL);
    require(status == BNN_ERR_K, kernel, "K past the limit accepted");
}

static void test_once(const bnn_kernel *kernel) {
    switch (kernel->op_id) {
    case BNN_OP_gemm_bit:
    case BNN_OP_conv2d_bit:
        test_bit(kernel, kernel->op_id == BNN_OP_gemm_bit);
        test_threads(kernel, kernel->op_id == BNN_OP_gemm_bit, (int)random_between(1, 5));
        break;
    case BNN_OP_gemm_bit_threshold: test_bit_threshold(kernel, 1); break;
    case BNN_OP_conv2d_bit_threshold: test_bit_threshold(kernel, 0); break;
    case BNN_OP_gemm_planes:
        test_planes(kernel, 1, random_planes());
        test_planes(kernel, 1, TERNARIES);
        break;
    case BNN_OP_conv2d_planes:
        test_planes(kernel, 0, random_planes());
        test_planes(kernel, 0, TERNARIES);
        break;
    case BNN_OP_gemm_planes_threshold:
        test_planes_threshold(kernel, 1, random_planes());
        test_planes_threshold(kernel, 1, TERNARIES);
        break;
    case BNN_OP_conv2d_planes_threshold:
        test_planes_threshold(kernel, 0, random_planes());
        test_planes_threshold(kernel, 0, TERNARIES);
        break;
    case BNN_OP_gemm_int: test_integer(kernel, 1, 0); break;
    case BNN_OP_conv2d_int: test_integer(kernel, 0, 0); break;
    case BNN_OP_gemm_int_bit: test_integer(kernel, 1, 1); break;
    case BNN_OP_conv2d_int_bit: test_integer(kernel, 0, 1); break;
    case BNN_OP_gemm_byte: test_byte(kernel, 1); break;
    case BNN_OP_conv2d_byte: test_byte(kernel, 0); break;
    case BNN_OP_byte_bit:
    case BNN_OP_byte_bit_threshold:
    case BNN_OP_float_bit:
    case BNN_OP_float_bit_single:
    case BNN_OP_float_float:
    case BNN_OP_float_float_single: test_lookup(kernel); break;
    case BNN_OP_threshold_pack: test_threshold_pack(kernel); break;
    case BNN_OP_multi_threshold: test_multi_threshold(kernel); break;
    case BNN_OP_pack_sign:
    case BNN_OP_unpack_bit: test_packing(kernel); break;
    case BNN_OP_pack_planes:
    case BNN_OP_unpack_planes: test_packing_planes(kernel); break;
    case BNN_OP_stochastic_pack: test_stochastic_pack(kernel); break;
    case BNN_OP_maxpool_bit: test_maxpool(kernel, 1); break;
    case BNN_OP_maxpool_int: test_maxpool(kernel, 0); break;
    case BNN_OP_scale_int: test_scale(kernel); break;
    case BNN_OP_affine: test_affine(kernel); break;
    case BNN_OP_pointwise: test_pointwise(kernel); break;
    case BNN_OP_pool_float: test_pool_float(kernel); break;
    case BNN_OP_copy_channels: test_copy_channels(kernel); break;
    case BNN_OP_raw_rate: test_raw_rate(kernel); break;
    default: require(0, kernel, "has no test");
    }
}

/* What this CPU gets is the best of what it can run. */
static void test_choice(void) {
    for (int op = 0; op < BNN_OP_COUNT; op++) {
        const bnn_kernel *chosen = bnn_select(op, BNN_ISA_COUNT - 1);
        for (int i = 0; i < bnn_kernel_count(); i++) {
            const bnn_kernel *other = bnn_kernel_at(i);
            const int better = other->supported && other->isa_id > chosen->isa_id;
            require(other->op_id != op || !better, other, "passed over");
        }
        require(chosen->supported, chosen, "chosen without its features");
        printf("chosen  %s: %s\n", chosen->op, chosen->isa);
    }
}

int main(void) {
    test_choice();
    for (int i = 0; i < bnn_kernel_count(); i++) {
        const bnn_kernel *kernel = bnn_kernel_at(i);
        const int rounds = kernel->op_id == BNN_OP_raw_rate ? 1 : ROUNDS;
        if (!kernel->supported) {
            printf("skipped %s: needs %s\n", kernel->symbol, kernel->features);
            continue;
        }
        test_limit(kernel);
        require(edges_hold(kernel), kernel, "wrong at an edge");
        if (kernel->op_id == BNN_OP_gemm_planes)
            require(planes_at_the_ends(kernel), kernel, "wrong at the largest K");
        for (int round = 0; round < rounds; round++) test_once(kernel);
        test_grid(kernel);
        printf("passed  %s\n", kernel->symbol);
    }
    test_programs();
    return 0;
}
