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

int bnn_unpack_bit_ref(const uint64_t *words, int64_t P, int64_t C, int8_t *out) {
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_tails(words, P, C));
    for (int64_t p = 0; p < P; p++)
        for (int64_t c = 0; c < C; c++)
            out[p * C + c] = (int8_t)(2 * get_bit(words + p * bnn_words(C), c) - 1);
    return BNN_OK;
}

/* Value c of a row of a type that planes come from. */
static int32_t value_at(const void *x, int x_type, int64_t c) {
    if (x_type == BNN_UINT8) return ((const uint8_t *)x)[c];
    return x_type == BNN_INT8 ? ((const int8_t *)x)[c] : ((const int16_t *)x)[c];
}

/* Where bit i of element e of (images, P, C) lies: its row of words. */
static int64_t plane_row(const bnn_planes *planes, int64_t e, int i, int64_t P, int64_t C) {
    return ((e / (P * C) * planes->x_bits + i) * P + e / C % P) * bnn_words(C);
}

int bnn_pack_planes_ref(const void *x, int x_type, const bnn_planes *planes, int64_t images,
                        int64_t P, int64_t C, uint64_t *out) {
    BNN_TRY(bnn_check_grid(x_type, planes, images, P, C));
    memset(out, 0, (size_t)(images * planes->x_bits * P * bnn_words(C)) * sizeof *out);
    for (int64_t e = 0; e < images * P * C; e++) {
        const int32_t above = value_at(x, x_type, e) - planes->low, u = above / planes->step;
        if (above < 0 || above % planes->step != 0 || u >> planes->x_bits != 0)
            return BNN_ERR_VALUE;
        for (int i = 0; i < planes->x_bits; i++)
            put_bit(out + plane_row(planes, e, i, P, C), e % C, u >> i & 1);
    }
    return BNN_OK;
}

int bnn_unpack_planes_ref(const uint64_t *x, int x_type, const bnn_planes *planes, int64_t images,
                          int64_t P, int64_t C, void *out) {
    BNN_TRY(bnn_check_grid(x_type, planes, images, P, C));
    BNN_TRY(bnn_check_tails(x, images * planes->x_bits * P, C));
    for (int64_t e = 0; e < images * P * C; e++) {
        int32_t u = 0;
        for (int i = 0; i < planes->x_bits; i++)
            u |= get_bit(x + plane_row(planes, e, i, P, C), e % C) << i;
        const int32_t value = planes->low + planes->step * u;
        if (x_type == BNN_UINT8)
            ((uint8_t *)out)[e] = (uint8_t)value;
        else if (x_type == BNN_INT8)
            ((int8_t *)out)[e] = (int8_t)value;
        else
            ((int16_t *)out)[e] = (int16_t)value;
    }
    return BNN_OK;
}
