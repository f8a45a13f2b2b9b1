/* Kernel calls cut into parts for threads: a part of a product or of a convolution is one too. */
#include <stddef.h>

#include "internal.h"

#define LEAST_ROWS 128      /* of a product per part, so that weights are read seldom */
#define LEAST_ELEMENTS 8192 /* of an op that takes them one by one */
#define LEAST_CHANNELS 512
#define LEAST_IMAGE_ROWS 16
#define PARTS_PER_THREAD 4 /* a thread that falls behind leaves parts to the others */
#define CHANNEL_STEP 64    /* whole words of bits, whole panels of every tile */

/* Rows (of a product, or of all output images) or channels [first, first + count). */
typedef struct cut {
    const bnn_call *call;
    int64_t items, chunk;
} cut;

static int has_window(const bnn_call *c) { return c->conv.window.kernel_h > 0; }

/* Does the kernel read weights in panels, so that a multiple of CHANNEL_STEP of them is a part? */
static int has_panels(const bnn_call *c) {
    const int op = c->kernel->op_id;
    const int reads_panels = op == BNN_OP_gemm_bit || op == BNN_OP_gemm_bit_threshold ||
                             op == BNN_OP_gemm_byte || op == BNN_OP_gemm_planes ||
                             op == BNN_OP_gemm_planes_threshold;
    return reads_panels && CHANNEL_STEP % c->kernel->tile_n == 0;
}

static int is_product(const bnn_call *c) {
    switch (c->kernel->op_id) {
    case BNN_OP_gemm_bit:
    case BNN_OP_gemm_bit_threshold:
    case BNN_OP_gemm_planes:
    case BNN_OP_gemm_planes_threshold:
    case BNN_OP_gemm_int:
    case BNN_OP_gemm_int_bit:
    case BNN_OP_gemm_byte: return 1;
    default: return 0;
    }
}

static int output_size(const bnn_call *c, int64_t *out_h, int64_t *out_w) {
    return c->conv.groups > 0 ? bnn_conv_out(&c->conv, out_h, out_w)
                              : bnn_window_out(&c->conv.window, out_h, out_w);
}

/* Move both buffers on by rows of the input and of the output. */
static void move_on(bnn_call *c, int64_t x_rows, int64_t out_rows) {
    c->x = (const char *)c->x + x_rows * c->x_bytes;
    if (c->x2 != NULL) c->x2 = (const char *)c->x2 + x_rows * c->x_bytes;
    c->out = (char *)c->out + out_rows * c->out_bytes;
}

static int run_rows(const void *context, int64_t part) {
    const cut *all = context;
    const int64_t first = part * all->chunk;
    bnn_call c = *all->call;
    c.M = bnn_min(all->chunk, all->items - first);
    c.first += first;
    move_on(&c, first, first);
    return bnn_invoke(&c);
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
    return bnn_invoke(&c);
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
    move_on(&c, image * x_planes * w->height + skipped, image * out_planes * out_h + y);
    w->batch = images;
    if (images == 1) {
        w->pad_top = from < 0 ? -from : 0;
        w->pad_bottom = to > w->height ? to - w->height : 0;
        w->height = to - from - w->pad_top - w->pad_bottom;
    }
    return bnn_invoke(&c);
}

static int run_bands(const void *context, int64_t part) {
    const cut *all = context;
    int64_t out_h, out_w, first = part * all->chunk;
    BNN_TRY(output_size(all->call, &out_h, &out_w));
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

static int64_t least_rows(const bnn_call *c) {
    return is_product(c) ? LEAST_ROWS : LEAST_ELEMENTS / c->N + 1;
}

static int run_parts_of_rows(const bnn_call *c, int threads) {
    if (c->M == 1 && has_panels(c))
        return run_cut(c, threads, c->N, chunk_of(c->N, threads, LEAST_CHANNELS, CHANNEL_STEP),
                       run_channels);
    return run_cut(c, threads, c->M, chunk_of(c->M, threads, least_rows(c), c->kernel->tile_m),
                   run_rows);
}

static int run_parts_of_images(const bnn_call *c, int threads, int64_t out_h) {
    const bnn_window *w = &c->conv.window;
    const int64_t reach = (w->kernel_h - 1) * w->dilation_h + 1;
    const int uneven = w->batch % threads != 0 && w->batch < PARTS_PER_THREAD * threads;
    const int sees_image = w->pad_top < reach && w->pad_bottom < reach; /* every output row does */
    const int64_t step = uneven && sees_image ? 1 : out_h;
    const int64_t least = step == 1 ? LEAST_IMAGE_ROWS : out_h;
    if (w->height == 1 && w->width == 1) /* a matrix, in whole tiles */
        return run_cut(c, threads, w->batch * out_h,
                       chunk_of(w->batch * out_h, threads, LEAST_ROWS, c->kernel->tile_m * out_h),
                       run_bands);
    return run_cut(c, threads, w->batch * out_h,
                   chunk_of(w->batch * out_h, threads, least, step), run_bands);
}

int bnn_run_parts(const bnn_call *c, int threads) {
    int64_t out_h, out_w;
    if (!has_window(c)) return run_parts_of_rows(c, threads);
    BNN_TRY(output_size(c, &out_h, &out_w));
    return run_parts_of_images(c, threads, out_h);
}

/* How long one product, or one element of another op, takes, in products of bits: roughly. */
static double work_each(const bnn_call *c) {
    switch (c->kernel->op_id) {
    case BNN_OP_gemm_bit:
    case BNN_OP_gemm_bit_threshold:
    case BNN_OP_conv2d_bit:
    case BNN_OP_conv2d_bit_threshold: return 1.0;
    case BNN_OP_gemm_planes:
    case BNN_OP_gemm_planes_threshold:
    case BNN_OP_conv2d_planes:
    case BNN_OP_conv2d_planes_threshold: return c->planes.x_bits * c->planes.w_bits;
    case BNN_OP_gemm_byte:
    case BNN_OP_conv2d_byte:
    case BNN_OP_byte_bit:
    case BNN_OP_byte_bit_threshold: return 8.0;
    default: return 64.0;
    }
}

double bnn_work(const bnn_call *c) {
    int64_t out_h, out_w;
    const double each = work_each(c);
    if (!has_window(c)) return each * (double)c->M * (double)c->N * (double)(is_product(c) ? c->K : 1);
    if (output_size(c, &out_h, &out_w) != BNN_OK) return 0.0; /* the kernel says why */
    const double positions = (double)c->conv.window.batch * (double)out_h * (double)out_w;
    const double taps = (double)c->conv.window.kernel_h * (double)c->conv.window.kernel_w;
    if (c->conv.groups == 0) return each * positions * taps * (double)c->N;
    return each * positions * (double)c->conv.out_channels * (double)bnn_conv_K(&c->conv);
}

int bnn_run(const bnn_call *c, int threads) {
    if (threads < 1) threads = bnn_usual_threads();
    if (threads == 1 || bnn_work(c) < BNN_LEAST_WORK) return bnn_invoke(c);
    if (!has_window(c)) BNN_TRY(bnn_check_gemm(c->M, c->N, 1, 1));
    return bnn_run_parts(c, threads);
}
