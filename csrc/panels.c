/* Weights and thresholds, rearranged once into the form in which the kernels read them. */
#include <string.h>

#include "internal.h"

int64_t bnn_panel_words(int64_t N, int64_t words, int64_t tile_n) {
    if (tile_n < 1 || N > INT64_MAX - tile_n) return -1;
    const int64_t padded = (N + tile_n - 1) / tile_n * tile_n;
    return bnn_check_size(padded, words, 1, 1) == BNN_OK ? padded * words : -1;
}

int bnn_pack_panels(const uint64_t *weights, int64_t N, int64_t words, int64_t tile_n,
                    uint64_t *panels) {
    const int64_t total = bnn_panel_words(N, words, tile_n);
    if (total < 0) return BNN_ERR_SIZE;
    memset(panels, 0, (size_t)total * sizeof *panels);
    for (int64_t n = 0; n < N; n++) {
        uint64_t *panel = panels + n / tile_n * tile_n * words + n % tile_n;
        for (int64_t k = 0; k < words; k++) panel[k * tile_n] = weights[n * words + k];
    }
    return BNN_OK;
}

int bnn_tap_sums(const uint64_t *weights, int64_t N, int64_t taps, int64_t channels, int32_t *out) {
    const int64_t words = bnn_words(channels);
    if (channels > BNN_MAX_K_BIT) return BNN_ERR_K;
    BNN_TRY(bnn_check_size(N, taps, words, 1));
    for (int64_t n = 0; n < N; n++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            const uint64_t *row = weights + (n * taps + tap) * words;
            int64_t plus = 0;
            for (int64_t k = 0; k < words; k++) plus += __builtin_popcountll(row[k]);
            out[tap * N + n] = (int32_t)(2 * plus - channels);
        }
    }
    return BNN_OK;
}

int bnn_pack_limits(const int32_t *t, const int8_t *direction, int64_t N, int64_t K,
                    int64_t *margins, uint64_t *flips) {
    BNN_TRY(bnn_check_size(N, K, 1, 1));
    if (K > BNN_MAX_K_BIT) return BNN_ERR_K;
    BNN_TRY(bnn_check_directions(direction, N));
    memset(flips, 0, (size_t)bnn_words(N) * sizeof *flips);
    for (int64_t n = 0; n < N; n++) {
        const uint64_t flip = direction[n] < 0;
        margins[n] = K - t[n] + 2 - (int64_t)flip;
        flips[n / BNN_WORD_BITS] |= flip << (n % BNN_WORD_BITS);
    }
    return BNN_OK;
}

int bnn_pack_plane_weights(const int16_t *weights, int64_t N, int64_t taps, int64_t channels,
                           int w_bits, int masked, uint64_t *rows, int32_t *tap_sums,
                           int32_t *plus) {
    const int64_t words = bnn_words(channels), plane = taps * words * (masked ? 2 : 1);
    const int largest = (1 << w_bits) - 1;
    if (w_bits < 1 || w_bits > 8) return BNN_ERR_VALUE;
    if (channels > BNN_MAX_K_BIT / (256 * taps)) return BNN_ERR_K;
    BNN_TRY(bnn_check_size(N, plane, w_bits, 1));
    memset(rows, 0, (size_t)(N * plane * w_bits) * sizeof *rows);
    memset(tap_sums, 0, (size_t)(taps * N) * sizeof *tap_sums);
    memset(plus, 0, (size_t)N * sizeof *plus);
    for (int64_t i = 0; i < N * taps * channels; i++) {
        const int64_t n = i / (taps * channels), tap = i / channels % taps, k = i % channels;
        const int w = weights[i], size = w < 0 ? -w : w;
        const uint64_t bit = UINT64_C(1) << (k % BNN_WORD_BITS);
        uint64_t *word = rows + n * plane * w_bits + (tap * words + k / 64) * (masked ? 2 : 1);
        if (size > largest || (!masked && size % 2 == 0)) return BNN_ERR_VALUE;
        const int up = masked ? (w > 0 ? size : 0) : (w + largest) / 2; /* the t_j that are +1 */
        for (int j = 0; j < w_bits; j++, word += plane) {
            if (up >> j & 1) word[0] |= bit;
            if (masked && size >> j & 1) word[1] |= bit;
        }
        tap_sums[tap * N + n] += w;
        plus[n] += up;
    }
    return BNN_OK;
}

void bnn_plane_bases(const bnn_planes *planes, const int32_t *tap_sums, int64_t N, int64_t taps,
                     int32_t *bases) {
    const uint32_t range = (uint32_t)planes->step * ((1u << planes->x_bits) - 1);
    for (int64_t n = 0; n < N; n++) {
        uint32_t sum = 0;
        for (int64_t tap = 0; tap < taps; tap++) sum += (uint32_t)tap_sums[tap * N + n];
        bases[n] = (int32_t)((uint32_t)planes->low * sum + range * (uint32_t)planes->plus[n]);
    }
}

int bnn_pack_plane_limits(const int32_t *t, const int8_t *direction, const int32_t *bases,
                          const bnn_planes *planes, int64_t N, int64_t count, int bits,
                          int64_t *margins, uint64_t *flips) {
    if (bits < 1 || bits > 8 || count < 1 || count > (1 << bits) - 1) return BNN_ERR_VALUE;
    BNN_TRY(bnn_check_size(N, 1 << bits, 1, 1));
    BNN_TRY(bnn_check_directions(direction, N));
    memset(flips, 0, (size_t)bnn_words(N) * sizeof *flips);
    for (int64_t n = 0; n < N; n++) {
        const int flip = direction[n] < 0;
        const int64_t never = flip ? INT64_MAX / 2 : INT64_MIN / 2;
        for (int64_t i = 0; i < (1 << bits) - 1; i++)
            margins[i * N + n] =
                i < count ? (int64_t)bases[n] - t[n * count + i] + planes->step - flip : never;
        flips[n / BNN_WORD_BITS] |= (uint64_t)flip << (n % BNN_WORD_BITS);
    }
    return BNN_OK;
}

int bnn_check_tails(const uint64_t *words, int64_t rows, int64_t K) {
    const int64_t per_row = bnn_words(K);
    uint64_t beyond = 0;
    if (K % BNN_WORD_BITS == 0) return BNN_OK;
    for (int64_t row = 0; row < rows; row++) beyond |= words[row * per_row + per_row - 1];
    return (beyond & ~bnn_valid_bits(K, per_row - 1)) == 0 ? BNN_OK : BNN_ERR_TAIL;
}

int64_t bnn_byte_panel_size(int64_t N, int64_t taps, int64_t length, int64_t tile_n) {
    if (tile_n < 1 || N > INT64_MAX - tile_n || length > INT64_MAX - 3) return -1;
    const int64_t padded = (N + tile_n - 1) / tile_n * tile_n, steps = bnn_byte_steps(length);
    if (bnn_check_size(padded, taps, steps, 4) != BNN_OK) return -1;
    return padded * taps * steps * 4;
}

int bnn_pack_byte_panels(const int8_t *weights, int64_t N, int64_t taps, int64_t length,
                         int64_t tile_n, int8_t *panels) {
    const int64_t total = bnn_byte_panel_size(N, taps, length, tile_n);
    const int64_t steps = bnn_byte_steps(length);
    if (total < 0) return BNN_ERR_SIZE;
    memset(panels, 0, (size_t)total);
    for (int64_t n = 0; n < N; n++) {
        int8_t *panel = panels + (n / tile_n * taps * steps * tile_n + n % tile_n) * 4;
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t k = 0; k < length; k++)
                panel[(tap * steps + k / 4) * tile_n * 4 + k % 4] =
                    weights[(n * taps + tap) * length + k];
    }
    return BNN_OK;
}

int bnn_byte_tap_sums(const int8_t *weights, int64_t N, int64_t taps, int64_t length,
                      int32_t *out) {
    if (length > BNN_MAX_K_BYTE) return BNN_ERR_K;
    BNN_TRY(bnn_check_size(N, taps, length, 1));
    for (int64_t n = 0; n < N; n++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            int32_t sum = 0;
            for (int64_t k = 0; k < length; k++) sum += weights[(n * taps + tap) * length + k];
            out[tap * N + n] = sum;
        }
    }
    return BNN_OK;
}
