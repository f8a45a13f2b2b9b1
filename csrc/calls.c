/*
 * From the fields of a call to the arguments of its op's kernel. A new op gets its line here
 * (and in work_of of run.c where its work is not one step per element).
 */
#include <stddef.h>

#include "internal.h"

#define CALL(op) ((bnn_##op##_fn *)c->kernel->function)

static int invoke_product(const bnn_call *c) {
    switch (c->kernel->op_id) {
    case BNN_OP_gemm_bit: return CALL(gemm_bit)(c->x, c->weights, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_bit_threshold:
        return CALL(gemm_bit_threshold)(c->x, c->weights, &c->limits, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_planes:
        return CALL(gemm_planes)(c->x, c->weights, c->tap_sums, &c->planes, c->M, c->N, c->K,
                                 c->out);
    case BNN_OP_gemm_planes_threshold:
        return CALL(gemm_planes_threshold)(c->x, c->weights, c->tap_sums, &c->planes, &c->limits,
                                           c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_byte:
        return CALL(gemm_byte)(c->x, c->type, c->weights, c->tap_sums, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_int:
        return CALL(gemm_int)(c->x, c->type, c->weights, c->M, c->N, c->K, c->out);
    case BNN_OP_gemm_int_bit:
        return CALL(gemm_int_bit)(c->x, c->type, c->weights, c->M, c->N, c->K, c->out);
    default: return BNN_ERR_VALUE;
    }
}

static int invoke_window(const bnn_call *c) {
    switch (c->kernel->op_id) {
    case BNN_OP_conv2d_bit:
        return CALL(conv2d_bit)(c->x, c->weights, c->tap_sums, &c->conv, c->pad_value, c->out);
    case BNN_OP_conv2d_bit_threshold:
        return CALL(conv2d_bit_threshold)(c->x, c->weights, c->tap_sums, &c->limits, &c->conv,
                                          c->pad_value, c->out);
    case BNN_OP_conv2d_planes:
        return CALL(conv2d_planes)(c->x, c->weights, c->tap_sums, &c->planes, &c->conv,
                                   c->pad_value, c->out);
    case BNN_OP_conv2d_planes_threshold:
        return CALL(conv2d_planes_threshold)(c->x, c->weights, c->tap_sums, &c->planes,
                                             &c->limits, &c->conv, c->pad_value, c->out);
    case BNN_OP_conv2d_byte:
        return CALL(conv2d_byte)(c->x, c->type, c->weights, c->tap_sums, &c->conv, c->pad_value,
                                 c->out);
    case BNN_OP_conv2d_int:
        return CALL(conv2d_int)(c->x, c->type, c->weights, &c->conv, c->pad_value, c->out);
    case BNN_OP_conv2d_int_bit:
        return CALL(conv2d_int_bit)(c->x, c->type, c->weights, &c->conv, c->pad_value, c->out);
    case BNN_OP_byte_bit: /* weights2: map */
        return CALL(byte_bit)(c->x, c->weights2, c->weights, &c->conv, c->pad_value, c->out);
    case BNN_OP_byte_bit_threshold:
        return CALL(byte_bit_threshold)(c->x, c->weights2, c->weights, &c->limits, &c->conv,
                                        c->pad_value, c->out);
    case BNN_OP_float_bit:
    case BNN_OP_float_bit_single:
        return CALL(float_bit)(c->x, c->weights, &c->conv, (float)c->pad_value, c->out_type,
                               c->out);
    case BNN_OP_float_float:
    case BNN_OP_float_float_single:
        return CALL(float_float)(c->x, c->weights, &c->conv, (float)c->pad_value, c->out_type,
                                 c->out);
    case BNN_OP_maxpool_bit:
        return CALL(maxpool_bit)(c->x, c->weights, &c->conv.window, c->N, c->out);
    case BNN_OP_maxpool_int:
        return CALL(maxpool_int)(c->x, c->type, &c->conv.window, c->N, c->out);
    case BNN_OP_pool_float: /* pad_value: how */
        return CALL(pool_float)(c->x, &c->conv.window, c->pad_value, c->N, c->out);
    default: return invoke_product(c);
    }
}

static int invoke_draws(const bnn_call *c) {
    bnn_draws draws = c->draws;
    draws.first += c->first * c->N;
    return CALL(stochastic_pack)(c->x, &draws, c->M, c->N, c->out);
}

int bnn_invoke(const bnn_call *c) {
    switch (c->kernel->op_id) {
    case BNN_OP_threshold_pack: /* weights: thresholds, weights2: directions */
        return CALL(threshold_pack)(c->x, c->weights, c->weights2, c->M, c->N, c->out);
    case BNN_OP_multi_threshold: /* pad_value: base */
        return CALL(multi_threshold)(c->x, c->weights, c->weights2, c->M, c->N, c->K, c->pad_value,
                                     c->out);
    case BNN_OP_scale_int: /* pad_value: factor, weights: (K, N) offsets */
        return CALL(scale_int)(c->x, c->type, c->pad_value, c->weights, c->K, c->first, c->M, c->N,
                               c->out, c->out_type);
    case BNN_OP_affine: /* pad_value: which terms */
        return CALL(affine)(c->x, c->type, c->weights, c->pad_value, c->M, c->N, c->out);
    case BNN_OP_pointwise: /* pad_value: what */
        return CALL(pointwise)(c->x, c->x2, c->type, c->pad_value, c->weights, c->M, c->N, c->out);
    case BNN_OP_copy_channels: /* N, K: bytes of rows, pad_value: first */
        return CALL(copy_channels)(c->x, c->M, c->N, c->K, c->pad_value, c->out);
    case BNN_OP_stochastic_pack: return invoke_draws(c);
    case BNN_OP_pack_sign: return CALL(pack_sign)(c->x, c->type, c->M, c->N, c->out);
    case BNN_OP_pack_planes: /* M: images, K: pixels of each */
        return CALL(pack_planes)(c->x, c->type, &c->planes, c->M, c->K, c->N, c->out);
    case BNN_OP_unpack_planes:
        return CALL(unpack_planes)(c->x, c->out_type, &c->planes, c->M, c->K, c->N, c->out);
    case BNN_OP_unpack_bit: return CALL(unpack_bit)(c->x, c->M, c->N, c->out);
    default: return invoke_window(c);
    }
}
