/* Kernel calls cut into parts for threads: a part of a product or of a convolution is one too. */
#include <stddef.h>

#include "internal.h"

#define LEAST_MACS (INT64_C(1) << 22) /* less is done before another thread has woken up */
#define LEAST_ROWS 128                /* of a product per part, so that weights are read seldom */
#define LEAST_CHANNELS 512
#define LEAST_IMAGE_ROWS 16
#define PARTS_PER_THREAD 4            /* a thread that falls behind leaves parts to the others */
#define CHANNEL_STEP 64               /* whole words of bits, whole panels of every tile */

/* Rows (of a product, or of all output images) or channels [first, first + count). */
typedef struct cut {
    const bnn_call *call;
    int64_t items, chunk;
} cut;

static int is_product(const bnn_call *c) { return c->conv.groups == 0; }

static int run_product(const bnn_call *c) {
    const bnn_function f = c->kernel->function;
    switch (c->kernel->op_id) {
    case BNN_OP_gemm_bit:
        return ((bnn_gemm_bit_fn *)f)(c->x, c->weights, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_bit_threshold:
        return ((bnn_gemm_bit_threshold_fn *)f)(c->x, c->weights, &c->limits, c->M, c->N, c->K,
                                                c->out);
    case BNN_OP_gemm_planes:
        return ((bnn_gemm_planes_fn *)f)(c->x, c->weights, c->tap_sums, &c->planes, c->M, c->N,
                                         c->K, c->out);
    case BNN_OP_gemm_planes_threshold:
        return ((bnn_gemm_planes_threshold_fn *)f)(c->x, c->weights, c->tap_sums, &c->planes,
                                                   &c->limits, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_byte:
        return ((bnn_gemm_byte_fn *)f)(c->x, c->type, c->weights, c->tap_sums, c->M, c->N, c->K,
                                       c->out);
    default: return BNN_ERR_VALUE;
    }
}

static int run_convolution(const bnn_call *c) {
    const bnn_function f = c->kernel->function;
    switch (c->kernel->op_id) {
    case BNN_OP_conv2d_bit:
        return ((bnn_conv2d_bit_fn *)f)(c->x, c->weights, c->tap_sums, &c->conv, c->pad_value,
                                        c->out);
    case BNN_OP_conv2d_bit_threshold:
        return ((bnn_conv2d_bit_threshold_fn *)f)(c->x, c->weights, c->tap_sums, &c->limits,
                                                  &c->conv, c->pad_value, c->out);
    case BNN_OP_conv2d_planes:
        return ((bnn_conv2d_planes_fn *)f)(c->x, c->weights, c->tap_sums, &c->planes, &c->conv,
                                           c->pad_value, c->out);
    case BNN_OP_conv2d_planes_threshold:
        return ((bnn_conv2d_planes_threshold_fn *)f)(c->x, c->weights, c->tap_sums, &c->planes,
                                                     &c->limits, &c->conv, c->pad_value, c->out);
    case BNN_OP_conv2d_byte:
        return ((bnn_conv2d_byte_fn *)f)(c->x, c->type, c->weights, c->tap_sums, &c->conv,
                                         c->pad_value, c->out);
    default: return BNN_ERR_VALUE;
    }
}

static int run_rows(const void *context, int64_t part) {
    const cut *all = context;
    const int64_t first = part * all->chunk;
    bnn_call c = *all->call;
    c.M = bnn_min(all->chunk, all->items - first);
    c.x = (const char *)c.x + first * c.x_bytes;
    c.out = (char *)c.out + first * c.out_bytes;
    return run_product(&c);
}

/* Channels of one row, `first` being a multiple of CHANNEL_STEP. */
static int run_channels(const void *context, int64_t part) {
    const cut *all = context;
    const int64_t first = part * all->chunk;
    const int op = all->call->kernel->op_id;
    const int planes = op == BNN_OP_gemm_planes || op == BNN_OP_gemm_planes_threshold;
    const int to_bits = op == BNN_OP_gemm_bit_threshold || op == BNN_OP_gemm_planes_threshold;
    bnn_call c = *all->call;
    c.N = bnn_min(all->chunk, all->items - first);
    const int64_t words = planes ? bnn_plane_words(&c.planes, bnn_words(c.K)) : bnn_words(c.K);
    c.weights = (const char *)c.weights +
                first * (op == BNN_OP_gemm_byte ? 4 * bnn_byte_steps(c.K) : 8 * words);
    if (planes) c.planes.plus += first;
    if (c.tap_sums != NULL) c.tap_sums += first;
    if (to_bits) c.limits.margins += first;
    if (to_bits) c.limits.flips += first / BNN_WORD_BITS;
    c.out = (char *)c.out + (to_bits ? first / 8 : first * 4);
    return run_product(&c);
}

/* Output rows [y, y + rows) of `images` images from `image` on; all rows where images > 1. */
static int run_band(const bnn_call *whole, int64_t image, int64_t images, int64_t y, int64_t rows,
                    int64_t out_h) {
    bnn_call c = *whole;
    bnn_window *w = &c.conv.window;
    const int64_t reach = (w->kernel_h - 1) * w->dilation_h + 1;
    const int64_t from = y * w->stride_h - w->pad_top;
    const int64_t to = from + (rows - 1) * w->stride_h + reach;
    const int64_t skipped = images == 1 && from > 0 ? from : 0;
    const int64_t x_planes = c.planes.x_bits > 0 ? c.planes.x_bits : 1; /* of an image */
    const int64_t out_planes = c.limits.bits > 0 ? c.limits.bits : 1;
    c.x = (const char *)c.x + (image * x_planes * w->height + skipped) * c.x_bytes;
    c.out = (char *)c.out + (image * out_planes * out_h + y) * c.out_bytes;
    w->batch = images;
    if (images == 1) {
        w->pad_top = from < 0 ? -from : 0;
        w->pad_bottom = to > w->height ? to - w->height : 0;
        w->height = to - from - w->pad_top - w->pad_bottom;
    }
    return run_convolution(&c);
}

static int run_bands(const void *context, int64_t part) {
    const cut *all = context;
    int64_t out_h, out_w, first = part * all->chunk;
    BNN_TRY(bnn_conv_out(&all->call->conv, &out_h, &out_w));
    const int64_t end = bnn_min(first + all->chunk, all->items);
    while (first < end) {
        const int64_t y = first % out_h, whole = y == 0 ? (end - first) / out_h : 0;
        const int64_t rows = whole > 0 ? out_h : bnn_min(out_h - y, end - first);
        BNN_TRY(run_band(all->call, first / out_h, whole > 0 ? whole : 1, y, rows, out_h));
        first += whole > 0 ? whole * out_h : rows;
    }
    return BNN_OK;
}

/* Items of a part: equal parts for all threads, and several where each still has `least`. */
static int64_t chunk_of(int64_t items, int64_t threads, int64_t least, int64_t step) {
    int64_t each = bnn_min(PARTS_PER_THREAD, items / threads / least);
    if (each < 1) each = 1;
    const int64_t chunk = (items + threads * each - 1) / (threads * each);
    return (chunk + step - 1) / step * step;
}

static int run_cut(const bnn_call *call, int threads, int64_t items, int64_t chunk,
                   bnn_part *part) {
    const cut all = {call, items, chunk};
    return bnn_parallel(threads, (items + chunk - 1) / chunk, part, &all);
}

static int run_parts_of_product(const bnn_call *c, int threads) {
    if (c->M == 1 && CHANNEL_STEP % c->kernel->tile_n == 0)
        return run_cut(c, threads, c->N, chunk_of(c->N, threads, LEAST_CHANNELS, CHANNEL_STEP),
                       run_channels);
    return run_cut(c, threads, c->M, chunk_of(c->M, threads, LEAST_ROWS, c->kernel->tile_m),
                   run_rows);
}

static int run_parts_of_convolution(const bnn_call *c, int threads, int64_t out_h) {
    const bnn_window *w = &c->conv.window;
    const int64_t reach = (w->kernel_h - 1) * w->dilation_h + 1;
    const int uneven = w->batch % threads != 0 && w->batch < PARTS_PER_THREAD * threads;
    const int sees_image = w->pad_top < reach && w->pad_bottom < reach; /* every output row does */
    const int64_t step = uneven && sees_image ? 1 : out_h;
    const int64_t least = step == 1 ? LEAST_IMAGE_ROWS : out_h;
    return run_cut(c, threads, w->batch * out_h,
                   chunk_of(w->batch * out_h, threads, least, step), run_bands);
}

int bnn_run_parts(const bnn_call *c, int threads) {
    int64_t out_h, out_w;
    if (is_product(c)) return run_parts_of_product(c, threads);
    BNN_TRY(bnn_conv_out(&c->conv, &out_h, &out_w));
    return run_parts_of_convolution(c, threads, out_h);
}

/* Multiply-accumulates of a valid call; those of bytes count as much as 8 of bits, those of planes as
 * often as there are pairs of them. */
static double macs_of(const bnn_call *c, int64_t out_h, int64_t out_w) {
    const int op = c->kernel->op_id;
    const int pairs = c->planes.x_bits * c->planes.w_bits; /* 0 where there are no planes */
    const double bits = pairs > 0 ? pairs : 1;
    const double each = op == BNN_OP_gemm_byte || op == BNN_OP_conv2d_byte ? 8.0 : bits;
    if (is_product(c)) return each * (double)c->M * (double)c->N * (double)c->K;
    const double positions = (double)c->conv.window.batch * (double)out_h * (double)out_w;
    return each * positions * (double)c->conv.out_channels * (double)bnn_conv_K(&c->conv);
}

int bnn_run(const bnn_call *c, int threads) {
    int64_t out_h = 1, out_w = 1;
    if (threads < 1) threads = bnn_usual_threads();
    if (is_product(c))
        BNN_TRY(bnn_check_gemm(c->M, c->N, c->K, BNN_MAX_K_BIT));
    else
        BNN_TRY(bnn_conv_out(&c->conv, &out_h, &out_w));
    if (threads > 1 && macs_of(c, out_h, out_w) >= LEAST_MACS) return bnn_run_parts(c, threads);
    return is_product(c) ? run_product(c) : run_convolution(c);
}
