/* Sizes of windows and convolutions, checked so that no index can overflow afterwards. */
#include "internal.h"

#define MAX_SIDE (INT64_C(1) << 31) /* of one axis, pad, stride or dilation */

static int in_range(int64_t value, int64_t low) { return value >= low && value <= MAX_SIDE; }

/* Output positions along one axis, or 0 where the window does not fit. */
static int64_t axis_out(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                        int64_t pad_before, int64_t pad_after) {
    if (!in_range(size, 1) || !in_range(kernel, 1) || !in_range(stride, 1)) return 0;
    if (!in_range(dilation, 1) || !in_range(pad_before, 0) || !in_range(pad_after, 0)) return 0;
    const int64_t reach = dilation * (kernel - 1) + 1; /* below 2^63: both are at most 2^31 */
    const int64_t padded = size + pad_before + pad_after;
    return reach > padded ? 0 : (padded - reach) / stride + 1;
}

int bnn_window_out(const bnn_window *window, int64_t *out_h, int64_t *out_w) {
    const bnn_window *w = window;
    *out_h =
        axis_out(w->height, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom);
    *out_w =
        axis_out(w->width, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right);
    if (*out_h < 1 || *out_w < 1) return BNN_ERR_GEOMETRY;
    BNN_TRY(bnn_check_size(w->batch, w->height, w->width, 1));
    return bnn_check_size(w->batch, *out_h, *out_w, 1);
}

int bnn_conv_out(const bnn_conv *conv, int64_t *out_h, int64_t *out_w) {
    const bnn_window *w = &conv->window;
    BNN_TRY(bnn_window_out(w, out_h, out_w));
    BNN_TRY(bnn_check_size(conv->channels, conv->out_channels, 1, 1));
    if (conv->groups < 1) return BNN_ERR_GROUPS;
    if (conv->channels % conv->groups != 0 || conv->out_channels % conv->groups != 0)
        return BNN_ERR_GROUPS;
    BNN_TRY(bnn_check_size(w->kernel_h, w->kernel_w, conv->channels, conv->out_channels));
    BNN_TRY(bnn_check_size(w->batch * w->height, w->width, conv->channels, 1));
    return bnn_check_size(w->batch * *out_h, *out_w, conv->out_channels, 1);
}
