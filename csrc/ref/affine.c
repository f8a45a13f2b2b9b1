/* Floats of one scale and offset per channel, each step rounded to float32 in the written order. */
#include "../internal.h"

#define CONVERT(type)                                                                              \
    static void convert_##type(const void *x, int64_t C, float *out) {                             \
        for (int64_t c = 0; c < C; c++) out[c] = (float)((const type *)x)[c];                      \
    }
CONVERT(uint8_t)
CONVERT(int8_t)
CONVERT(int16_t)
CONVERT(int32_t)
CONVERT(float)

int bnn_affine_ref(const void *x, int x_type, const float *terms, int which, int64_t P, int64_t C,
                   float *out) {
    typedef void convert_row(const void *x, int64_t C, float *out);
    static convert_row *const convert[] = {convert_uint8_t, convert_int8_t, convert_int16_t,
                                           convert_int32_t, convert_float};
    static const int64_t sizes[] = {1, 1, 2, 4, 4};
    const float *shift = terms, *scale = terms + C, *bias = terms + 2 * C;
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    if (x_type < BNN_UINT8 || x_type > BNN_FLOAT32) return BNN_ERR_DTYPE;
    if (which < 0 || which > 7) return BNN_ERR_VALUE;
    for (int64_t p = 0; p < P; p++, out += C) {
        convert[x_type]((const char *)x + p * C * sizes[x_type], C, out);
        for (int64_t c = 0; which & BNN_SHIFT && c < C; c++) out[c] = out[c] - shift[c];
        for (int64_t c = 0; which & BNN_SCALE && c < C; c++) out[c] = out[c] * scale[c];
        for (int64_t c = 0; which & BNN_BIAS && c < C; c++) out[c] = out[c] + bias[c];
    }
    return BNN_OK;
}
