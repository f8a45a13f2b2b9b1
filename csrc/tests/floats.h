/* Elements by elements, pools of floats and copies; the Python tests hold the same kernels to numpy. */
#ifndef BNNSIM_FLOATS_H
#define BNNSIM_FLOATS_H

#include "products.h"

static float *random_floats(int64_t count) {
    float *x = fresh(count, sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)random_between(-999, 999) / 7.0f;
    return x;
}

/* What each of the functions gives, the product rounded by the volatile. */
static float pointwise_value(int what, float x, float x2, const float *terms, int64_t c) {
    volatile float product = x * (what == BNN_PRELU ? terms[c] : x2);
    switch (what) {
    case BNN_ADD: return x + x2;
    case BNN_MULTIPLY: return product;
    case BNN_CLIP: return x < terms[0] ? terms[0] : x > terms[1] ? terms[1] : x;
    default: return x >= 0.0f ? x : product;
    }
}

static void test_pointwise(const bnn_kernel *kernel) {
    bnn_pointwise_fn *function = (bnn_pointwise_fn *)kernel->function;
    const int64_t P = random_between(1, 5), C = random_between(2, 70);
    const int what = (int)random_between(BNN_ADD, BNN_PRELU);
    float *x = random_floats(P * C), *x2 = random_floats(P * C), *terms = random_floats(C);
    float *out = fresh(P * C, sizeof *out);
    if (terms[0] > terms[1]) terms[1] = terms[0] + 1.0f;
    require(function(x, x2, BNN_FLOAT32, what, terms, P, C, out) == BNN_OK, kernel, "status");
    for (int64_t i = 0; i < P * C; i++)
        require(out[i] == pointwise_value(what, x[i], x2[i], terms, i % C), kernel, "wrong float");
    require(function(x, x2, BNN_FLOAT32, what, terms, P, C, x) == BNN_OK, kernel, "in place");
    require(!memcmp(x, out, (size_t)(P * C) * sizeof *x), kernel, "in place differs");
    require(function(x, x2, BNN_FLOAT32, BNN_RATIO, terms, P, C, out) == BNN_ERR_VALUE, kernel, "unknown");
    require(function(x, x2, BNN_INT16, what, terms, P, C, out) == BNN_ERR_DTYPE, kernel, "type");
    free(x), free(x2), free(terms), free(out);
}

/* Windows side by side, of which every tap is inside: the rest is held to numpy. */
static void test_pool_float(const bnn_kernel *kernel) {
    bnn_pool_float_fn *function = (bnn_pool_float_fn *)kernel->function;
    const int64_t side = random_between(1, 4), k = random_between(1, 3), C = random_between(1, 150);
    const bnn_window w = {1, side * k, side * k, k, k, k, k, 1, 1, 0, 0, 0, 0};
    float *x = random_floats(side * k * side * k * C), *out = fresh(side * side * C, sizeof *out);
    for (int how = BNN_LARGEST; how <= BNN_AVERAGE_PADDED; how++) {
        require(function(x, &w, how, C, out) == BNN_OK, kernel, "status");
        for (int64_t i = 0; i < side * side * C; i++) {
            double total = 0.0;
            float best = -INFINITY;
            for (int64_t tap = 0; tap < k * k; tap++) {
                const int64_t y = i / C / side * k + tap / k, v = i / C % side * k + tap % k;
                const float value = x[(y * side * k + v) * C + i % C];
                total += value;
                best = value > best ? value : best;
            }
            const float mean = (float)(total / (double)(k * k));
            require(out[i] == (how == BNN_LARGEST ? best : mean), kernel, "wrong float");
        }
    }
    require(function(x, &w, 3, C, out) == BNN_ERR_VALUE, kernel, "unknown pool");
    free(x), free(out);
}

static void test_copy_channels(const bnn_kernel *kernel) {
    bnn_copy_channels_fn *function = (bnn_copy_channels_fn *)kernel->function;
    const int64_t P = random_between(1, 5), row = random_between(1, 30);
    const int64_t first = random_between(0, 9), width = first + row + random_between(0, 9);
    char *x = fresh(P * row, 1), *out = fresh(P * width, 1);
    memset(x, 'x', (size_t)(P * row)), memset(out, 'o', (size_t)(P * width));
    require(function(x, P, row, width, first, out) == BNN_OK, kernel, "status");
    for (int64_t i = 0; i < P * width; i++) {
        const int inside = i % width >= first && i % width < first + row;
        require(out[i] == (inside ? 'x' : 'o'), kernel, "wrong byte");
    }
    require(function(x, P, row, width, width - row + 1, out) == BNN_ERR_VALUE, kernel, "too far");
    free(x), free(out);
}

#endif
