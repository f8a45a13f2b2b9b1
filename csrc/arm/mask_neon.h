/* Comparison results of NEON (all ones or zero per lane) to the bits of a word. */
#ifndef BNNSIM_MASK_NEON_H
#define BNNSIM_MASK_NEON_H

#include <arm_neon.h>

#include "../internal.h"

/* One result per byte of 16 results in 4 registers. */
static inline uint8x16_t mask_bytes(uint32x4_t m0, uint32x4_t m1, uint32x4_t m2, uint32x4_t m3) {
    const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(m0), vreinterpretq_u16_u32(m1));
    const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(m2), vreinterpretq_u16_u32(m3));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

/* Bit i of the word = lane i of 64: each byte keeps the bit of its place in its group of 8, and
 * three pairwise adds bring the 8 together. */
static inline uint64_t mask_word(const uint8x16_t mask[4]) {
    const uint8x16_t place = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    const uint8x16_t low = vpaddq_u8(vandq_u8(mask[0], place), vandq_u8(mask[1], place));
    const uint8x16_t high = vpaddq_u8(vandq_u8(mask[2], place), vandq_u8(mask[3], place));
    const uint8x16_t quads = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(quads, quads)), 0);
}

#endif
