/*
 * What the inner tiles of the bit kernels share. A tile is a few rows x a panel of output channels.
 *
 * A row is a row of a matrix or an output pixel: runs of `words` contiguous words (one run for a
 * matrix product; one per kernel row, or per tap where dilated, for a convolution), at the same
 * offsets from the start of each row. Panels are [word][TILE_CHANNELS].
 *
 * A tile counts mismatches. What becomes of a count depends on its level, of which every row has
 * one per channel: sums are base - 2 * mismatches (int32 bases), bits are mismatches < limit (int64
 * limits), flipped in the channels whose direction is -1. Levels may be read up to a whole panel.
 *
 * Each instruction set defines TILE_ROWS, TILE_VECTORS (4), TILE_LANES (channels per vector),
 * and tile_sums_fixed and tile_bits_fixed, which take the numbers of rows and vectors as constants.
 */
#ifndef BNNSIM_BIT_TILE_H
#define BNNSIM_BIT_TILE_H

#include "internal.h"

#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef struct tile_runs {
    const int64_t *offset, *end; /* of each run */
    int64_t words;
} tile_runs;

typedef struct tile {
    const uint64_t *row[TILE_ROWS];
    const void *level[TILE_ROWS];
    const uint64_t *panel;
    int64_t channels; /* 1 to TILE_CHANNELS */
} tile;

/* Where the bits of a tile go: row r into word[r * stride] from bit `shift` on, and `spill`: past the
 * end of that word into the next. `flip` and `valid` say which bits to turn round and to keep. */
typedef struct tile_bits_out {
    uint64_t *word;
    int64_t stride;
    int shift, spill;
    uint64_t flip, valid;
} tile_bits_out;

/* The cases of a switch over rows * 8 + vectors; TILE_CALL(rows, vectors) is what each one runs. */
#define TILE_CASE(r, v)                                                                            \
    case (r) * 8 + (v): TILE_CALL(r, v); break;
#define TILE_CASES(r) TILE_CASE(r, 1) TILE_CASE(r, 2) TILE_CASE(r, 3) TILE_CASE(r, 4)

static inline int tile_shape(const tile *t, int rows) {
    return rows * 8 + (int)((t->channels + TILE_LANES - 1) / TILE_LANES);
}

/* Bits of `channels` output channels from `first` on, of rows of N channels in all. */
static inline tile_bits_out tile_bits_at(uint64_t *row, int64_t N, int64_t first, int64_t channels,
                                         const uint64_t *flips) {
    const int shift = (int)(first % BNN_WORD_BITS);
    return (tile_bits_out){.word = row + first / BNN_WORD_BITS,
                           .stride = bnn_words(N),
                           .shift = shift,
                           .spill = shift + channels > BNN_WORD_BITS,
                           .flip = bnn_group_word(flips, first, channels, 0),
                           .valid = bnn_valid_bits(channels, 0)};
}

/* Store the bits of row r, and zeros up to the end of their last word; tiles of a row come in
 * ascending order. */
ALWAYS_INLINE void tile_put(const tile_bits_out *out, int r, uint64_t bits) {
    uint64_t *word = out->word + r * out->stride;
    bits = (bits & out->valid) ^ out->flip;
    *word = out->shift == 0 ? bits : *word | bits << out->shift;
    if (out->spill) word[1] = bits >> (BNN_WORD_BITS - out->shift);
}

#endif
