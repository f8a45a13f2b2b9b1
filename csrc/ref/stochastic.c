/* Stochastic sign: +1 with the probability of a hard sigmoid, from numbered random bits.
 *
 * Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011, section 3.3. */
#include <math.h>
#include <string.h>

#include "../internal.h"

/* The 128 bits of one block, word 0 lowest. */
static void philox(const bnn_draws *draws, uint64_t block, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32);
    uint32_t c2 = draws->node, c3 = draws->sample;
    uint32_t k0 = (uint32_t)draws->seed, k1 = (uint32_t)(draws->seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)c0 * UINT32_C(0xD2511F53);
        const uint64_t product1 = (uint64_t)c2 * UINT32_C(0xCD9E8D57);
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* How many of the 2^bits words give +1. */
static uint32_t probability(float x, int bits) {
    float sigmoid = (x + 1.0f) / 2.0f;
    sigmoid = sigmoid < 0.0f ? 0.0f : sigmoid > 1.0f ? 1.0f : sigmoid;
    return (uint32_t)floorf(sigmoid * (float)(1 << bits) + 0.5f);
}

int bnn_stochastic_pack_ref(const float *x, const bnn_draws *draws, int64_t P, int64_t C,
                            uint64_t *out) {
    BNN_TRY(bnn_check_draws(draws, P, C));
    const int bits = draws->bits, per_block = 128 / bits;
    const uint32_t mask = (UINT32_C(1) << bits) - 1;
    uint32_t words[4];
    int found_nan = 0;
    memset(out, 0, (size_t)(P * bnn_words(C)) * sizeof *out);
    for (int64_t i = 0; i < P * C; i++) {
        const int64_t e = draws->first + i;
        const int at = (int)(e % per_block) * bits;
        if (i == 0 || at == 0) philox(draws, (uint64_t)(e / per_block), words);
        found_nan |= x[i] != x[i];
        const uint32_t u = words[at / 32] >> (at % 32) & mask;
        const uint64_t plus = u < probability(x[i] == x[i] ? x[i] : 0.0f, bits);
        out[i / C * bnn_words(C) + i % C / BNN_WORD_BITS] |= plus << (i % C % BNN_WORD_BITS);
    }
    return found_nan ? BNN_ERR_NAN : BNN_OK;
}
