/* uint8 or int8 activations x int8 weights in rows of whole steps (panels with tile_n = 1). */
#include "../internal.h"

static int32_t dot(const void *a, int a_type, const int8_t *w, int64_t K) {
    const uint8_t *unsigned_a = a;
    const int8_t *signed_a = a;
    int32_t sum = 0;
    if (a_type == BNN_UINT8)
        for (int64_t k = 0; k < K; k++) sum += unsigned_a[k] * w[k];
    else
        for (int64_t k = 0; k < K; k++) sum += signed_a[k] * w[k];
    return sum;
}

int bnn_gemm_byte_ref(const void *a, int a_type, const int8_t *panels, const int32_t *tap_sums,
                      int64_t M, int64_t N, int64_t K, int32_t *out) {
    const int64_t row = 4 * bnn_byte_steps(K);
    (void)tap_sums;
    BNN_TRY(bnn_check_gemm(M, N, K, BNN_MAX_K_BYTE));
    BNN_TRY(bnn_check_byte(a_type, 0));
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++)
            out[m * N + n] = dot((const uint8_t *)a + m * K, a_type, panels + n * row, K);
    return BNN_OK;
}

int bnn_conv2d_byte_ref(const void *x, int x_type, const int8_t *panels, const int32_t *tap_sums,
                        const bnn_conv *conv, int32_t pad_value, int32_t *out) {
    const bnn_window *window = &conv->window;
    int64_t out_h, out_w;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_BYTE, &out_h, &out_w));
    BNN_TRY(bnn_check_byte(x_type, pad_value));
    const int64_t N = conv->out_channels, channels = conv->channels / conv->groups;
    const int64_t taps = window->kernel_h * window->kernel_w, row = 4 * bnn_byte_steps(channels);
    for (int64_t p = 0; p < window->batch * out_h * out_w; p++) {
        const bnn_position at = bnn_position_of(p, out_h, out_w);
        for (int64_t n = 0; n < N; n++) {
            const int64_t first = n / (N / conv->groups) * channels;
            int32_t sum = 0;
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t pixel =
                    bnn_tap_pixel(window, at, tap / window->kernel_w, tap % window->kernel_w);
                const int8_t *weight = panels + (n * taps + tap) * row;
                if (pixel < 0)
                    sum += pad_value * tap_sums[tap * N + n];
                else
                    sum += dot((const uint8_t *)x + pixel * conv->channels + first, x_type, weight,
                               channels);
            }
            out[p * N + n] = sum;
        }
    }
    return BNN_OK;
}
