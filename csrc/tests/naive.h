/* The meaning of the kernels, value by value, and the data that the tests feed them. */
#ifndef BNNSIM_NAIVE_H
#define BNNSIM_NAIVE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../include/bnnsim.h"

static uint64_t random_state = 20161205;

/* A xorshift64* generator: the tests need the same varied words on every run, nothing more. */
static uint64_t random_word(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

/* Uniform in [low, high]. */
static int64_t random_between(int64_t low, int64_t high) {
    return low + (int64_t)((random_word() >> 11) % (uint64_t)(high - low + 1));
}

/* Exactly as many bytes as asked for, so that the sanitizer sees every step outside. */
static void *fresh(int64_t count, size_t size) {
    void *memory = calloc((size_t)count, size);
    if (memory == NULL) abort();
    return memory;
}

/* Values as wide integers; a plane row is packed bit by bit. */
static int64_t *random_values(int64_t count, int64_t low, int64_t high, int skip_zero) {
    int64_t *values = fresh(count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        do values[i] = random_between(low, high);
        while (skip_zero && values[i] == 0);
    }
    return values;
}

static uint64_t *pack_plane(const int64_t *values, int64_t rows, int64_t K) {
    uint64_t *words = fresh(rows * bnn_words(K), sizeof *words);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < K; k++) {
            const uint64_t bit = values[r * K + k] > 0;
            words[r * bnn_words(K) + k / 64] |= bit << (k % 64);
        }
    return words;
}

/* Philox4x32-10 on an array, rounds and words as the paper numbers them. */
static void naive_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (uint32_t round = 0; round < 10; round++) {
        const uint64_t left = UINT64_C(0xD2511F53) * x[0], right = UINT64_C(0xCD9E8D57) * x[2];
        const uint32_t key0 = key[0] + round * UINT32_C(0x9E3779B9);
        const uint32_t key1 = key[1] + round * UINT32_C(0xBB67AE85);
        const uint32_t next[4] = {(uint32_t)(right >> 32) ^ x[1] ^ key0, (uint32_t)right,
                                  (uint32_t)(left >> 32) ^ x[3] ^ key1, (uint32_t)left};
        memcpy(x, next, sizeof x);
    }
    memcpy(out, x, sizeof x);
}

static void *narrow(const int64_t *values, int64_t count, int dtype) {
    static const size_t sizes[] = {1, 1, 2, 4, 4};
    char *out = fresh(count, sizes[dtype]);
    for (int64_t i = 0; i < count; i++) {
        const int32_t v = (int32_t)values[i];
        const float f = (float)v;
        if (dtype == BNN_FLOAT32)
            memcpy(out + 4 * i, &f, 4);
        else
            memcpy(out + (int64_t)sizes[dtype] * i, &v, sizes[dtype]); /* little-endian */
    }
    return out;
}

/* x (batch, H, W, C) and w (C_out, R, S, C / groups) as values. */
static int64_t naive_conv_at(const int64_t *x, const int64_t *w, const bnn_conv *c, int64_t pad,
                             int64_t image, int64_t oy, int64_t ox, int64_t n) {
    const bnn_window *g = &c->window;
    const int64_t per_group = c->channels / c->groups;
    int64_t sum = 0;
    for (int64_t r = 0; r < g->kernel_h; r++)
        for (int64_t s = 0; s < g->kernel_w; s++)
            for (int64_t k = 0; k < per_group; k++) {
                const int64_t y = oy * g->stride_h + r * g->dilation_h - g->pad_top;
                const int64_t v = ox * g->stride_w + s * g->dilation_w - g->pad_left;
                const int64_t channel = n / (c->out_channels / c->groups) * per_group + k;
                const int inside = y >= 0 && y < g->height && v >= 0 && v < g->width;
                const int64_t value =
                    inside ? x[((image * g->height + y) * g->width + v) * c->channels + channel]
                           : pad;
                sum += value * w[((n * g->kernel_h + r) * g->kernel_w + s) * per_group + k];
            }
    return sum;
}

/* One random convolution; a matrix product is one of 1 x 1 on 1 x 1 images. */
typedef struct problem {
    bnn_conv conv;
    int64_t out_h, out_w, pixels, taps, per_group, positions;
    int64_t *x, *w, pad;
    int32_t *out;
} problem;

static bnn_window random_window(int dense) {
    if (dense)
        return (bnn_window){random_between(1, 40), 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    return (bnn_window){random_between(1, 2), random_between(5, 9), random_between(5, 9),
                        random_between(1, 3), random_between(1, 3), random_between(1, 2),
                        random_between(1, 2), random_between(1, 2), random_between(1, 2),
                        random_between(0, 2), random_between(0, 2), random_between(0, 2),
                        random_between(0, 2)};
}

/* Values in [low, high], weights in [w_low, w_high]; without 0 where a side is bipolar. */
static problem new_problem(int dense, int64_t low, int64_t high, int bits_x, int64_t w_low,
                           int64_t w_high, int bits_w) {
    problem p = {.conv.window = random_window(dense)};
    const bnn_window *g = &p.conv.window;
    p.conv.groups = dense ? 1 : random_between(1, 3);
    p.per_group = random_between(1, dense ? 300 : 90);
    p.conv.channels = p.per_group * p.conv.groups;
    p.conv.out_channels = p.conv.groups * random_between(1, dense ? 70 : 40);
    if (bnn_conv_out(&p.conv, &p.out_h, &p.out_w) != BNN_OK) abort();
    p.pixels = g->batch * g->height * g->width;
    p.taps = g->kernel_h * g->kernel_w;
    p.positions = g->batch * p.out_h * p.out_w;
    p.x = random_values(p.pixels * p.conv.channels, low, high, bits_x);
    p.w = random_values(p.conv.out_channels * p.taps * p.per_group, w_low, w_high, bits_w);
    p.pad = random_between(-1, 1);
    p.out = fresh(p.positions * p.conv.out_channels, sizeof *p.out);
    return p;
}

/* Value i of a problem's output. */
static int64_t naive_output(const problem *p, int64_t i) {
    const int64_t n = i % p->conv.out_channels, at = i / p->conv.out_channels;
    return naive_conv_at(p->x, p->w, &p->conv, p->pad, at / (p->out_h * p->out_w),
                         at / p->out_w % p->out_h, at % p->out_w, n);
}

#endif
