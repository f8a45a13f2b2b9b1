/* float32 x bit or float weights, summed in double, or in float, in the order of
 * engine/float_sums.py: product after product, or by fours and words where the weights are bits. */
#include <stddef.h>

#include "../internal.h"

/* Plain weights (N, K), or bits in rows of words(K). */
typedef struct weights {
    const uint64_t *bits;
    const double *doubles;
    const float *floats;
} weights;

static double weight_at(const weights *w, int64_t n, int64_t K, int64_t k) {
    if (w->bits != NULL) return bnn_is_plus(w->bits, n, K, k) ? 1.0 : -1.0;
    return w->doubles != NULL ? w->doubles[n * K + k] : (double)w->floats[n * K + k];
}

/* Of two floats, double rounding a sum or a product first changes nothing. */
static double rounded(double value, int single) { return single ? (double)(float)value : value; }

static double product_at(const float *x, const weights *w, const bnn_conv *conv, float pad_value,
                         bnn_position at, int64_t n, int64_t k, int single) {
    const int64_t K = bnn_conv_K(conv), place = k < K ? bnn_value_at(conv, at, n, k) : -1;
    if (k >= K) return 0.0;
    const double value = (double)(place < 0 ? pad_value : x[place]);
    return rounded(weight_at(w, n, K, k) * value, single);
}

static double sum_at(const float *x, const weights *w, const bnn_conv *conv, float pad_value,
                     bnn_position at, int64_t n, int single) {
#define PRODUCT(k) product_at(x, w, conv, pad_value, at, n, k, single)
    const int64_t K = bnn_conv_K(conv);
    double sum = 0.0, of_word = 0.0;
    if (w->bits == NULL) {
        for (int64_t k = 0; k < K; k++) sum = rounded(sum + PRODUCT(k), single);
        return sum;
    }
    for (int64_t k = 0; k < K; k += 4) {
        const double low = rounded(PRODUCT(k) + PRODUCT(k + 1), single);
        const double high = rounded(PRODUCT(k + 2) + PRODUCT(k + 3), single);
        if (k % BNN_WORD_BITS == 0) of_word = 0.0;
        of_word = rounded(of_word + rounded(low + high, single), single);
        if (k % BNN_WORD_BITS == BNN_WORD_BITS - 4 || k + 4 >= K)
            sum = rounded(sum + of_word, single);
    }
    return sum;
#undef PRODUCT
}

static int run(const float *x, const weights *w, const bnn_conv *conv, float pad_value, int single,
               int out_type, void *out) {
    const int64_t N = conv->out_channels;
    int64_t out_h, out_w;
    if (out_type != BNN_FLOAT32 && out_type != BNN_FLOAT64) return BNN_ERR_DTYPE;
    BNN_TRY(bnn_check_conv(conv, BNN_MAX_K_LOOKUP, &out_h, &out_w));
    for (int64_t i = 0; i < conv->window.batch * out_h * out_w * N; i++) {
        const bnn_position at = bnn_position_of(i / N, out_h, out_w);
        const double sum = sum_at(x, w, conv, pad_value, at, i % N, single);
        if (out_type == BNN_FLOAT64)
            ((double *)out)[i] = sum;
        else
            ((float *)out)[i] = (float)sum;
    }
    return BNN_OK;
}

/* The kernel of an op: which of the weights its panels are, and whether it sums in float. */
#define KERNEL(op, type, weight, single)                                                           \
    int bnn_##op##_ref(const float *x, const type *panels, const bnn_conv *conv, float pad_value,  \
                       int out_type, void *out) {                                                  \
        return run(x, &(weights){.weight = panels}, conv, pad_value, single, out_type, out);       \
    }

KERNEL(float_bit, uint64_t, bits, 0)
KERNEL(float_bit_single, uint64_t, bits, 1)
KERNEL(float_float, void, doubles, 0)
KERNEL(float_float_single, void, floats, 1)
