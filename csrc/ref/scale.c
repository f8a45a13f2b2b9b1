/* Integers times a factor, plus one offset per channel that may depend on the row. */
#include "../internal.h"

#define SCALE(from, to)                                                                            \
    static void scale_##from##_##to(const void *x, uint32_t mul, const int32_t *offset, int64_t C, \
                                    void *out) {                                                   \
        const from *values = x;                                                                    \
        to *results = out;                                                                         \
        for (int64_t c = 0; c < C; c++)                                                            \
            results[c] = (to)(mul * (uint32_t)values[c] + (uint32_t)offset[c]);                    \
    }
#define SCALE_FROM(from)                                                                           \
    SCALE(from, uint8_t) SCALE(from, int8_t) SCALE(from, int16_t) SCALE(from, int32_t)
SCALE_FROM(uint8_t)
SCALE_FROM(int8_t)
SCALE_FROM(int16_t)
SCALE_FROM(int32_t)

typedef void scale_row(const void *x, uint32_t mul, const int32_t *offset, int64_t C, void *out);

int bnn_scale_int_ref(const void *x, int x_type, int32_t mul, const int32_t *offset, int64_t period,
                      int64_t first, int64_t P, int64_t C, void *out, int out_type) {
#define ROW(from) {scale_##from##_uint8_t, scale_##from##_int8_t, scale_##from##_int16_t,          \
                   scale_##from##_int32_t}
    static scale_row *const rows[][4] = {ROW(uint8_t), ROW(int8_t), ROW(int16_t), ROW(int32_t)};
    static const int64_t sizes[] = {1, 1, 2, 4};
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_size(period, C, 1, 1));
    if (first < 0 || first > INT64_MAX - P) return BNN_ERR_SIZE;
    if (x_type < BNN_UINT8 || x_type > BNN_INT32) return BNN_ERR_DTYPE;
    if (out_type < BNN_UINT8 || out_type > BNN_INT32) return BNN_ERR_DTYPE;
    scale_row *const scale = rows[x_type][out_type];
    for (int64_t p = 0; p < P; p++)
        scale((const char *)x + p * C * sizes[x_type], (uint32_t)mul,
              offset + (first + p) % period * C, C, (char *)out + p * C * sizes[out_type]);
    return BNN_OK;
}
