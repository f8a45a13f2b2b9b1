/*
 * Small calls whose instructions tests/kernels/test_instruction_counts.py counts under callgrind,
 * which collects inside counted() only. Without an argument: the names of the calls; with a name:
 * that call, after which it prints the kernel that ran.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/bnnsim.h"

#define ROWS 96
#define CHANNELS 512
#define SIDE 32
#define BEST (BNN_ISA_COUNT - 1)

static uint64_t read[SIDE * SIDE * CHANNELS], written[SIDE * SIDE * CHANNELS];

/* Words of any value; they live as long as the process. */
static void *words(int64_t count) {
    void *memory = malloc((size_t)count * 8);
    if (memory == NULL) abort();
    return memset(memory, 0x5a, (size_t)count * 8);
}

/* What products and convolutions share: any weights and levels do, since results are not looked at. */
static bnn_call new_call(int op, int64_t N, int64_t taps, int64_t depth) {
    bnn_call c = {.kernel = bnn_select(op, BEST), .type = BNN_UINT8, .tap_sums = words(taps * N)};
    const int bytes = op == BNN_OP_gemm_byte || op == BNN_OP_conv2d_byte;
    const int64_t tile_n = c.kernel->tile_n;
    c.weights = words(bytes ? (bnn_byte_panel_size(N, taps, depth, tile_n) + 7) / 8
                            : bnn_panel_words(N, taps * bnn_words(depth), tile_n));
    c.limits.margins = words(N);
    c.limits.flips = words(bnn_words(N));
    return c;
}

static bnn_call product(int op, int64_t M, int64_t N, int64_t K) {
    bnn_call c = new_call(op, N, 1, K);
    c.M = M, c.N = N, c.K = K;
    c.x_bytes = op == BNN_OP_gemm_byte ? K : K / 8;
    c.out_bytes = op == BNN_OP_gemm_bit_threshold ? N / 8 : 4 * N;
    c.x = words(M * K / 8);
    c.out = written;
    return c;
}

static bnn_call convolution(int op, int64_t side, int64_t channels, int64_t N, int64_t stride) {
    bnn_call c = new_call(op, N, 9, channels);
    c.conv = (bnn_conv){{1, side, side, 3, 3, stride, stride, 1, 1, 1, 1, 1, 1}, channels, N, 1};
    c.x_bytes = side * (op == BNN_OP_conv2d_byte ? channels : channels / 8);
    c.out_bytes = side * N * (op == BNN_OP_conv2d_bit_threshold ? 1 : 32) / 8;
    c.x = words(side * side * channels / 8);
    c.out = written;
    return c;
}

static int threshold_pack(const bnn_kernel *kernel) {
    int8_t direction[CHANNELS];
    memset(direction, 1, sizeof direction);
    return ((bnn_threshold_pack_fn *)kernel->function)((int32_t *)read, (int32_t *)read, direction,
                                                       ROWS, CHANNELS, written);
}

static int maxpool_bit(const bnn_kernel *kernel) {
    const bnn_window w = {1, SIDE, SIDE, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0};
    return ((bnn_maxpool_bit_fn *)kernel->function)(read, read, &w, 2, written);
}

static int pack_sign(const bnn_kernel *kernel) {
    return ((bnn_pack_sign_fn *)kernel->function)(read, BNN_FLOAT32, ROWS, 784, written);
}

/* The layers of a small net, one after the other. */
static int tiny_net(const bnn_call layers[3]) {
    int status = BNN_OK;
    for (int i = 0; i < 3 && status == BNN_OK; i++) status = bnn_run(&layers[i], 1);
    return status;
}

typedef struct counted_case {
    const char *name;
    bnn_call call[3];
    int (*function)(const bnn_kernel *);
    int in_parts;
} counted_case;

__attribute__((noinline)) int counted(const counted_case *c) {
    if (c->function != NULL) return c->function(c->call[0].kernel);
    if (c->in_parts) return bnn_run_parts(&c->call[0], 1);
    return c->call[1].kernel != NULL ? tiny_net(c->call) : bnn_run(&c->call[0], 1);
}

int main(int argc, char **argv) {
    const counted_case cases[] = {
        {"gemm_bit", {product(BNN_OP_gemm_bit, ROWS, 128, 1024)}, NULL, 0},
        {"gemm_bit, one row", {product(BNN_OP_gemm_bit, 1, 512, 1024)}, NULL, 0},
        {"gemm_bit_threshold", {product(BNN_OP_gemm_bit_threshold, ROWS, 128, 1024)}, NULL, 0},
        {"gemm_bit_threshold, one row", {product(BNN_OP_gemm_bit_threshold, 1, 512, 1024)}, NULL, 0},
        {"conv2d_bit", {convolution(BNN_OP_conv2d_bit, 14, 64, 64, 1)}, NULL, 0},
        {"conv2d_bit, stride 2", {convolution(BNN_OP_conv2d_bit, 14, 64, 64, 2)}, NULL, 0},
        {"conv2d_bit, in parts", {convolution(BNN_OP_conv2d_bit, 28, 64, 64, 1)}, NULL, 1},
        {"conv2d_bit_threshold", {convolution(BNN_OP_conv2d_bit_threshold, 14, 64, 64, 1)}, NULL, 0},
        {"gemm_byte", {product(BNN_OP_gemm_byte, ROWS, 64, 192)}, NULL, 0},
        {"conv2d_byte", {convolution(BNN_OP_conv2d_byte, 14, 16, 32, 1)}, NULL, 0},
        {"threshold_pack", {{.kernel = bnn_select(BNN_OP_threshold_pack, BEST)}}, threshold_pack, 0},
        {"maxpool_bit", {{.kernel = bnn_select(BNN_OP_maxpool_bit, BEST)}}, maxpool_bit, 0},
        {"pack_sign", {{.kernel = bnn_select(BNN_OP_pack_sign, BEST)}}, pack_sign, 0},
        {"three layers",
         {product(BNN_OP_gemm_byte, 1, 64, 784), product(BNN_OP_gemm_bit_threshold, 1, 64, 64),
          product(BNN_OP_gemm_bit, 1, 10, 64)},
         NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (argc == 1) puts(cases[i].name);
        if (argc == 1 || strcmp(argv[1], cases[i].name) != 0) continue;
        const int status = counted(&cases[i]);
        puts(status == BNN_OK ? cases[i].call[0].kernel->symbol : bnn_status_text(status));
        return status;
    }
    return argc == 1 ? 0 : 1;
}
