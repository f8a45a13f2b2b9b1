/* Between one value per byte (or float) and one value per bit. */
#include <string.h>

#include "../internal.h"

/* Set bit c of a row. */
static inline void put_bit(uint64_t *row, int64_t c, int bit) {
    row[c / BNN_WORD_BITS] |= (uint64_t)bit << (c % BNN_WORD_BITS);
}

static inline int get_bit(const uint64_t *row, int64_t c) {
    return (int)(row[c / BNN_WORD_BITS] >> (c % BNN_WORD_BITS) & 1);
}

static void pack_int8(const int8_t *x, int64_t C, uint64_t *row) {
    for (int64_t c = 0; c < C; c++) put_bit(row, c, x[c] >= 0);
}

static void pack_int32(const int32_t *x, int64_t C, uint64_t *row) {
    for (int64_t c = 0; c < C; c++) put_bit(row, c, x[c] >= 0);
}

static int pack_float32(const float *x, int64_t C, uint64_t *row) {
    int found_nan = 0;
    for (int64_t c = 0; c < C; c++) {
        put_bit(row, c, x[c] >= 0.0f);
        found_nan |= x[c] != x[c];
    }
    return found_nan ? BNN_ERR_NAN : BNN_OK;
}

int bnn_pack_sign_ref(const void *x, int x_type, int64_t P, int64_t C, uint64_t *out) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    memset(out, 0, (size_t)(P * words) * sizeof *out);
    for (int64_t p = 0; p < P; p++) {
        uint64_t *row = out + p * words;
        switch (x_type) {
        case BNN_INT8: pack_int8((const int8_t *)x + p * C, C, row); break;
        case BNN_INT32: pack_int32((const int32_t *)x + p * C, C, row); break;
        case BNN_FLOAT32: BNN_TRY(pack_float32((const float *)x + p * C, C, row)); break;
        default: return BNN_ERR_DTYPE;
        }
    }
    return BNN_OK;
}

int bnn_pack_ternary_ref(const int8_t *x, int64_t P, int64_t C, uint64_t *sign, uint64_t *mask) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    memset(sign, 0, (size_t)(P * words) * sizeof *sign);
    memset(mask, 0, (size_t)(P * words) * sizeof *mask);
    for (int64_t p = 0; p < P; p++) {
        for (int64_t c = 0; c < C; c++) {
            const int8_t value = x[p * C + c];
            if (value < -1 || value > 1) return BNN_ERR_VALUE;
            put_bit(sign + p * words, c, value > 0);
            put_bit(mask + p * words, c, value != 0);
        }
    }
    return BNN_OK;
}

int bnn_unpack_bit_ref(const uint64_t *words, int64_t P, int64_t C, int8_t *out) {
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_tails(words, P, C));
    for (int64_t p = 0; p < P; p++)
        for (int64_t c = 0; c < C; c++)
            out[p * C + c] = (int8_t)(2 * get_bit(words + p * bnn_words(C), c) - 1);
    return BNN_OK;
}

int bnn_unpack_ternary_ref(const uint64_t *sign, const uint64_t *mask, int64_t P, int64_t C,
                           int8_t *out) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_tails(mask, P, C));
    for (int64_t p = 0; p < P; p++) {
        for (int64_t j = 0; j < words; j++)
            if (sign[p * words + j] & ~mask[p * words + j]) return BNN_ERR_VALUE;
        for (int64_t c = 0; c < C; c++)
            out[p * C + c] =
                (int8_t)(2 * get_bit(sign + p * words, c) - get_bit(mask + p * words, c));
    }
    return BNN_OK;
}

/* Value c of a row of a type that planes come from. */
static int32_t value_at(const void *x, int x_type, int64_t c) {
    if (x_type == BNN_UINT8) return ((const uint8_t *)x)[c];
    return x_type == BNN_INT8 ? ((const int8_t *)x)[c] : ((const int16_t *)x)[c];
}

int bnn_pack_planes_ref(const void *x, int x_type, int32_t low, int32_t step, int bits, int64_t P,
                        int64_t C, uint64_t *out) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_grid(x_type, low, step, bits, P, C));
    memset(out, 0, (size_t)(bits * P * words) * sizeof *out);
    for (int64_t i = 0; i < P * C; i++) {
        const int32_t above = value_at(x, x_type, i) - low;
        if (above < 0 || above % step != 0 || above / step >> bits != 0) return BNN_ERR_VALUE;
        for (int plane = 0; plane < bits; plane++)
            put_bit(out + (plane * P + i / C) * words, i % C, above / step >> plane & 1);
    }
    return BNN_OK;
}

int bnn_unpack_planes_ref(const uint64_t *planes, int x_type, int32_t low, int32_t step, int bits,
                          int64_t P, int64_t C, void *out) {
    const int64_t words = bnn_words(C);
    BNN_TRY(bnn_check_grid(x_type, low, step, bits, P, C));
    BNN_TRY(bnn_check_tails(planes, bits * P, C));
    for (int64_t i = 0; i < P * C; i++) {
        int32_t u = 0;
        for (int plane = 0; plane < bits; plane++)
            u |= get_bit(planes + (plane * P + i / C) * words, i % C) << plane;
        const int32_t value = low + step * u;
        if (x_type == BNN_UINT8)
            ((uint8_t *)out)[i] = (uint8_t)value;
        else if (x_type == BNN_INT8)
            ((int8_t *)out)[i] = (int8_t)value;
        else
            ((int16_t *)out)[i] = (int16_t)value;
    }
    return BNN_OK;
}
