/* Integer thresholds to bits with NEON; the meaning is ref/threshold.c. */
#if defined(__aarch64__)
#include <string.h>

#include "mask_neon.h"

/* acc >= t where the direction is +1, else acc <= t, which is not acc > t. */
static inline uint8x16_t meets(const int32_t *acc, const int32_t *t, const int8_t *direction) {
    uint32x4_t at_least[4], above[4];
    for (int i = 0; i < 4; i++) {
        const int32x4_t sums = vld1q_s32(acc + 4 * i), limits = vld1q_s32(t + 4 * i);
        at_least[i] = vcgeq_s32(sums, limits);
        above[i] = vcgtq_s32(sums, limits);
    }
    return vbslq_u8(vcgtzq_s8(vld1q_s8(direction)),
                    mask_bytes(at_least[0], at_least[1], at_least[2], at_least[3]),
                    vmvnq_u8(mask_bytes(above[0], above[1], above[2], above[3])));
}

static inline uint64_t word_of(const int32_t *acc, const int32_t *t, const int8_t *direction) {
    uint8x16_t mask[4];
    for (int i = 0; i < 4; i++) mask[i] = meets(acc + 16 * i, t + 16 * i, direction + 16 * i);
    return mask_word(mask);
}

int bnn_threshold_pack_neon(const int32_t *acc, const int32_t *t, const int8_t *direction,
                            int64_t P, int64_t C, uint64_t *out) {
    const int64_t whole = C / BNN_WORD_BITS, words = bnn_words(C), rest = C % BNN_WORD_BITS;
    int32_t last_acc[BNN_WORD_BITS] = {0}, last_t[BNN_WORD_BITS] = {0};
    int8_t last_direction[BNN_WORD_BITS] = {0};
    BNN_TRY(bnn_check_size(P, C, 1, 1));
    BNN_TRY(bnn_check_directions(direction, C));
    memcpy(last_t, t + C - rest, (size_t)rest * sizeof *t);
    memcpy(last_direction, direction + C - rest, (size_t)rest);
    for (int64_t p = 0; p < P; p++, acc += C, out += words) {
        for (int64_t word = 0; word < whole; word++) {
            const int64_t c = word * BNN_WORD_BITS;
            out[word] = word_of(acc + c, t + c, direction + c);
        }
        if (rest == 0) continue;
        memcpy(last_acc, acc + C - rest, (size_t)rest * sizeof *acc);
        out[whole] = word_of(last_acc, last_t, last_direction) & bnn_valid_bits(C, whole);
    }
    return BNN_OK;
}

#endif
