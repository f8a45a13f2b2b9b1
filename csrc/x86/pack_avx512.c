/* Signs of one value per element to one bit each with AVX-512; the meaning is ref/pack.c. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include <immintrin.h>

#include "../internal.h"

/* Signs of up to 64 int8 values. */
static uint64_t signs_int8(const int8_t *x, int64_t count) {
    const __mmask64 lanes = bnn_valid_bits(count, 0);
    return ~_mm512_movepi8_mask(_mm512_maskz_loadu_epi8(lanes, x)) & lanes;
}

static uint64_t signs_int32(const int32_t *x, int64_t count) {
    const uint64_t valid = bnn_valid_bits(count, 0);
    uint64_t bits = 0;
    for (int i = 0; i < 64 && i < count; i += 16) {
        const __m512i values = _mm512_maskz_loadu_epi32((__mmask16)(valid >> i), x + i);
        bits |= (uint64_t)(uint16_t)~_mm512_movepi32_mask(values) << i;
    }
    return bits & valid;
}

static uint64_t signs_float32(const float *x, int64_t count, int *found_nan) {
    const uint64_t valid = bnn_valid_bits(count, 0);
    const __m512 zero = _mm512_setzero_ps();
    uint64_t bits = 0;
    for (int i = 0; i < 64 && i < count; i += 16) {
        const __m512 values = _mm512_maskz_loadu_ps((__mmask16)(valid >> i), x + i);
        bits |= (uint64_t)_mm512_cmp_ps_mask(values, zero, _CMP_GE_OQ) << i;
        *found_nan |= _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q) != 0;
    }
    return bits & valid;
}

int bnn_pack_sign_avx512(const void *x, int x_type, int64_t P, int64_t C, uint64_t *out) {
    int found_nan = 0;
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    if (x_type != BNN_INT8 && x_type != BNN_INT32 && x_type != BNN_FLOAT32) return BNN_ERR_DTYPE;
    for (int64_t p = 0; p < P; p++) {
        for (int64_t word = 0; word < bnn_words(C); word++) {
            const int64_t at = p * C + word * 64, count = C - word * 64;
            uint64_t *bits = out + p * bnn_words(C) + word;
            if (x_type == BNN_INT8)
                *bits = signs_int8((const int8_t *)x + at, count);
            else if (x_type == BNN_INT32)
                *bits = signs_int32((const int32_t *)x + at, count);
            else
                *bits = signs_float32((const float *)x + at, count, &found_nan);
        }
    }
    return found_nan ? BNN_ERR_NAN : BNN_OK;
}

#endif
