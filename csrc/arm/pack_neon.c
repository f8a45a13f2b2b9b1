/* Signs of one value per element to one bit each with NEON; the meaning is ref/pack.c. */
#if defined(__aarch64__)
#include <string.h>

#include "mask_neon.h"

static uint64_t signs_int8(const int8_t *x) {
    uint8x16_t mask[4];
    for (int i = 0; i < 4; i++) mask[i] = vcgezq_s8(vld1q_s8(x + 16 * i));
    return mask_word(mask);
}

static uint64_t signs_int32(const int32_t *x) {
    uint8x16_t mask[4];
    for (int i = 0; i < 4; i++, x += 16)
        mask[i] = mask_bytes(vcgezq_s32(vld1q_s32(x)), vcgezq_s32(vld1q_s32(x + 4)),
                             vcgezq_s32(vld1q_s32(x + 8)), vcgezq_s32(vld1q_s32(x + 12)));
    return mask_word(mask);
}

/* numbers: lanes that have met no NaN so far. */
static uint64_t signs_float32(const float *x, uint32x4_t *numbers) {
    uint8x16_t mask[4];
    for (int i = 0; i < 4; i++) {
        uint32x4_t positive[4];
        for (int j = 0; j < 4; j++) {
            const float32x4_t values = vld1q_f32(x + 16 * i + 4 * j);
            positive[j] = vcgezq_f32(values);
            *numbers = vandq_u32(*numbers, vceqq_f32(values, values));
        }
        mask[i] = mask_bytes(positive[0], positive[1], positive[2], positive[3]);
    }
    return mask_word(mask);
}

static uint64_t signs(const void *x, int x_type, uint32x4_t *numbers) {
    if (x_type == BNN_INT8) return signs_int8(x);
    return x_type == BNN_INT32 ? signs_int32(x) : signs_float32(x, numbers);
}

int bnn_pack_sign_neon(const void *x, int x_type, int64_t P, int64_t C, uint64_t *out) {
    const int64_t size = x_type == BNN_INT8 ? 1 : 4, whole = C / BNN_WORD_BITS;
    const int64_t rest = C % BNN_WORD_BITS;
    const uint8_t *from = x;
    int32_t last[BNN_WORD_BITS] = {0}; /* the elements past the last whole word, of any type */
    uint32x4_t numbers = vdupq_n_u32(UINT32_MAX);
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    if (x_type != BNN_INT8 && x_type != BNN_INT32 && x_type != BNN_FLOAT32) return BNN_ERR_DTYPE;
    for (int64_t p = 0; p < P; p++) {
        for (int64_t word = 0; word < whole; word++, from += BNN_WORD_BITS * size)
            *out++ = signs(from, x_type, &numbers);
        if (rest == 0) continue;
        memcpy(last, from, (size_t)(rest * size));
        *out++ = signs(last, x_type, &numbers) & bnn_valid_bits(C, whole);
        from += rest * size;
    }
    return vminvq_u32(numbers) == UINT32_MAX ? BNN_OK : BNN_ERR_NAN;
}

#endif
