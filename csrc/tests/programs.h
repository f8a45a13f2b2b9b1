/* A program gives what its calls give one by one, on any number of threads, images and tiles. */
#ifndef BNNSIM_PROGRAMS_H
#define BNNSIM_PROGRAMS_H

#include "products.h"

#define CHAIN 3

/* Sums of bits, their thresholds' bits, and sums of those again, or their pooled bits. */
typedef struct chain {
    bnn_step steps[CHAIN];
    int64_t bytes[CHAIN + 1]; /* of an image: what goes in, and what each step makes */
    void *owned[8];
    int owned_count;
} chain;

static void *own(chain *c, void *memory) { return c->owned[c->owned_count++] = memory; }

static uint64_t *random_bits(int64_t rows, int64_t K) {
    int64_t *values = random_values(rows * K, -1, 1, 1);
    uint64_t *words = pack_plane(values, rows, K);
    free(values);
    return words;
}

/* A layer with its plain weights, as the ref kernels read them. */
static void add_product(chain *c, int i, const bnn_conv *conv, int64_t K, int64_t N) {
    const int64_t taps = conv ? conv->window.kernel_h * conv->window.kernel_w : 1;
    uint64_t *w = own(c, random_bits(N * taps, K));
    bnn_call *call = &c->steps[i].call;
    call->kernel = bnn_select(conv ? BNN_OP_conv2d_bit : BNN_OP_gemm_bit, BNN_ISA_ref);
    call->weights = w;
    if (conv != NULL) {
        int32_t *sums = own(c, fresh(taps * N, sizeof *sums));
        bnn_tap_sums(w, N, taps, K, sums);
        call->conv = *conv, call->tap_sums = sums;
    } else {
        call->M = 1, call->N = N, call->K = K;
    }
}

static void add_thresholds(chain *c, int i, int64_t pixels, int64_t N) {
    int64_t *t = random_values(N, -9, 9, 0), *sign = random_values(N, -1, 1, 1);
    bnn_call *call = &c->steps[i].call;
    call->kernel = bnn_select(BNN_OP_threshold_pack, BNN_ISA_COUNT - 1);
    call->weights = own(c, narrow(t, N, BNN_INT32));
    call->weights2 = own(c, narrow(sign, N, BNN_INT8));
    call->M = pixels, call->N = N;
    free(t), free(sign);
}

static chain new_chain(int dense) {
    chain c = {.owned_count = 0};
    const int64_t K = random_between(1, 200), N = random_between(1, 200);
    const int64_t size = random_between(3, 9), last = random_between(1, 99), words = bnn_words(N);
    const int64_t pixels = dense ? 1 : size * (size + 1);
    const bnn_window same = {1, size, size + 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
    const bnn_window pool = {1, size, size + 1, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0};
    const bnn_conv conv = {same, K, N, 1};
    add_product(&c, 0, dense ? NULL : &conv, K, N);
    add_thresholds(&c, 1, pixels, N);
    c.bytes[0] = 8 * pixels * bnn_words(K), c.bytes[1] = 4 * pixels * N;
    c.bytes[2] = 8 * pixels * words;
    if (dense) {
        add_product(&c, 2, NULL, N, last);
        c.bytes[3] = 4 * last;
    } else {
        c.steps[2].call.kernel = bnn_select(BNN_OP_maxpool_bit, BNN_ISA_ref);
        c.steps[2].call.weights = own(&c, random_bits(1, N));
        c.steps[2].call.conv.window = pool, c.steps[2].call.N = words;
        c.bytes[3] = 8 * (size - 1) * size * words;
    }
    for (int i = 0; i < CHAIN; i++) {
        bnn_step *s = &c.steps[i];
        const int windowed = s->call.conv.window.kernel_h > 0;
        s->x = i, s->x2 = -1, s->out = i + 1;
        s->call.x_bytes = c.bytes[i] / (windowed ? size : s->call.M);
        s->call.out_bytes = c.bytes[i + 1] / (!windowed ? s->call.M : i == 0 ? size : size - 1);
    }
    return c;
}

/* Each call by itself, on the whole batch, into memory of its own. */
static void *one_by_one(const chain *c, const void *x, int64_t images) {
    void *in = fresh(images * c->bytes[0], 1);
    memcpy(in, x, (size_t)(images * c->bytes[0]));
    for (int i = 0; i < CHAIN; i++) {
        bnn_call call = c->steps[i].call;
        void *out = fresh(images * c->bytes[i + 1], 1);
        call.x = in, call.out = out, call.M *= images, call.conv.window.batch = images;
        require(bnn_invoke(&call) == BNN_OK, call.kernel, "call of a chain");
        free(in);
        in = out;
    }
    return in;
}

static void test_program(int dense, int threads) {
    chain c = new_chain(dense);
    const bnn_kernel *kernel = c.steps[0].call.kernel;
    const int64_t images = random_between(1, 150), last = c.bytes[CHAIN] * images;
    const int64_t second = c.bytes[1]; /* bits lie behind the sums */
    const bnn_slot slots[] = {{c.bytes[0], 0, 0, 0},
                              {c.bytes[1], 0, 0, -1},
                              {c.bytes[2], second, 1, -1},
                              {c.bytes[3], 0, 0, 1}};
    const bnn_program p = {c.steps, slots, CHAIN, CHAIN + 1, second + c.bytes[2],
                           random_between(1, 40)};
    const bnn_call *first = &c.steps[0].call;
    const int64_t rows = dense ? images : images * first->conv.window.height *
                                              first->conv.window.width;
    uint64_t *x = random_bits(rows, dense ? first->K : first->conv.channels);
    void *expected = one_by_one(&c, x, images), *out = fresh(last, 1);
    char *external[] = {(char *)x, out};
    bnn_batch b = {.images = images, .external = external};
    int64_t arenas, part, failed = -1;
    bnn_program_parts(&p, images, threads, &arenas, &part);
    require(arenas >= 1 && arenas <= threads && part >= 1 && part <= p.tile, kernel, "parts");
    b.arena_bytes = bnn_arena_bytes(&p, part);
    b.arenas = fresh(arenas * b.arena_bytes, 1);
    require(bnn_run_program(&p, &b, threads, &failed) == BNN_OK, kernel, "program");
    require(!memcmp(out, expected, (size_t)last), kernel, "a program differs from its calls");
    int32_t *none = fresh(first->N + first->conv.out_channels, sizeof *none);
    c.steps[1].call.weights2 = none; /* no directions */
    require(bnn_run_program(&p, &b, threads, &failed) == BNN_ERR_VALUE && failed == 1, kernel,
            "the failed step");
    free(x), free(expected), free(out), free(b.arenas), free(none);
    for (int i = 0; i < c.owned_count; i++) free(c.owned[i]);
}

static void test_programs(void) {
    for (int round = 0; round < 60; round++) test_program(round % 2, (int)random_between(1, 4));
    printf("passed  programs\n");
}

#endif
