/*
 * What the inner tiles of the bit kernels share. A tile is a few rows x a panel of output channels.
 *
 * A row is a row of a matrix or an output pixel: runs of `words` contiguous words (one run for a
 * matrix product; one per kernel row, or per tap where dilated, for a convolution), at the same
 * offsets from the start of each row. Panels are [word][TILE_CHANNELS], masked [word][sign or
 * mask][TILE_CHANNELS].
 *
 * A tile counts mismatches, (row xor sign) and, where masked, mask. With planes it passes over the
 * runs once for every pair of an activation plane and a weight plane, heaviest pairs first, and
 * doubles what it has counted between passes; so the counts are weighted and need no second sum.
 *
 * What becomes of a count depends on its level, of which every row has one per channel: sums are
 * base - (count << scale) (int32 bases), bits are count < limit (int64 limits), flipped in the
 * channels whose direction is -1. Planes have 2^bits - 1 such limits per channel, `stride` apart, and
 * the bits of how many hold. Levels may be read up to a whole panel.
 *
 * Each instruction set defines TILE_ROWS, TILE_VECTORS (4), TILE_LANES (channels per vector),
 * and tile_sums_fixed and tile_bits_fixed, which take the mode and the numbers of rows and vectors
 * as constants.
 */
#ifndef BNNSIM_BIT_TILE_H
#define BNNSIM_BIT_TILE_H

#include "internal.h"

#define TILE_CHANNELS (TILE_VECTORS * TILE_LANES)
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Bits in one pass without a mask; planes of signs; planes of masked signs. */
enum { TILE_BITS, TILE_SIGNS, TILE_MASKED, TILE_MODES };

/* Where the planes of a pass start, after the row and in the panel; `shift` doubles first. */
typedef struct tile_pass {
    int64_t row, panel;
    int shift;
} tile_pass;

typedef struct tile_runs {
    const int64_t *offset, *end; /* of each run */
    int64_t words;
    int mode, scale;                    /* scale is 1 for bits */
    const tile_pass *pass, *pass_end; /* none for bits */
} tile_runs;

typedef struct tile {
    const uint64_t *row[TILE_ROWS];
    const void *level[TILE_ROWS];
    const uint64_t *panel;
    int64_t channels; /* 1 to TILE_CHANNELS */
} tile;

/* Where the bits of a tile go: row r into word[r * stride] from bit `shift` on, and `spill`: past the
 * end of that word into the next. `flip` and `valid` say which bits to turn round and to keep. Of
 * planes there are `bits`, `plane` words apart, and limits of one channel lie `limits` apart. */
typedef struct tile_bits_out {
    uint64_t *word;
    int64_t stride;
    int shift, spill;
    uint64_t flip, valid;
    int bits;
    int64_t plane, limits;
} tile_bits_out;

/* The cases of a switch over shapes; TILE_CALL(mode, rows, vectors) is what each one runs. */
#define TILE_CASE(m, r, v)                                                                         \
    case ((m) * 8 + (r)) * 8 + (v): TILE_CALL(m, r, v); break;
#define TILE_CASES(r)                                                                              \
    TILE_CASES_OF(TILE_BITS, r) TILE_CASES_OF(TILE_SIGNS, r) TILE_CASES_OF(TILE_MASKED, r)
#define TILE_CASES_OF(m, r)                                                                        \
    TILE_CASE(m, r, 1) TILE_CASE(m, r, 2) TILE_CASE(m, r, 3) TILE_CASE(m, r, 4)

/* Set row r. The empty asm keeps addresses out of vector registers, where they would wait behind all
 * that the tile before still has to count. */
ALWAYS_INLINE void tile_set_row(tile *t, int r, const uint64_t *row, const void *level) {
    t->row[r] = row;
    t->level[r] = level;
    __asm__("" : "+m"(t->row[r]), "+m"(t->level[r]));
}

static inline int tile_shape(const tile *t, const tile_runs *runs, int rows) {
    return (runs->mode * 8 + rows) * 8 + (int)((t->channels + TILE_LANES - 1) / TILE_LANES);
}

/* Bits of `channels` output channels from `first` on, of rows of N channels `stride` words apart. */
static inline tile_bits_out tile_bits_at(uint64_t *row, int64_t stride, int64_t N, int64_t first,
                                         int64_t channels, const bnn_limits *limits) {
    const int shift = (int)(first % BNN_WORD_BITS);
    return (tile_bits_out){.word = row + first / BNN_WORD_BITS,
                           .stride = stride,
                           .shift = shift,
                           .spill = shift + channels > BNN_WORD_BITS,
                           .flip = bnn_group_word(limits->flips, first, channels, 0),
                           .valid = bnn_valid_bits(channels, 0),
                           .bits = limits->bits,
                           .plane = limits->out_stride,
                           .limits = N};
}

/* Store the bits of row r of a plane, and zeros up to the end of their last word; tiles of a row come
 * in ascending order. */
ALWAYS_INLINE void tile_put(const tile_bits_out *out, int r, int plane, uint64_t bits) {
    uint64_t *word = out->word + r * out->stride + plane * out->plane;
    bits = (bits & out->valid) ^ out->flip;
    *word = out->shift == 0 ? bits : *word | bits << out->shift;
    if (out->spill) word[1] = bits >> (BNN_WORD_BITS - out->shift);
}

#define TILE_MAX_PASSES 64

/* The passes over the planes of activations (row_plane words apart) and of weights (panel_plane), in
 * descending weight; returns their number. */
static inline int tile_passes(const bnn_planes *planes, int64_t row_plane, int64_t panel_plane,
                              tile_pass passes[TILE_MAX_PASSES]) {
    int count = 0, before = planes->x_bits + planes->w_bits - 2;
    for (int weight = before; weight >= 0; weight--)
        for (int i = 0; i < planes->x_bits; i++) {
            const int j = weight - i;
            if (j < 0 || j >= planes->w_bits) continue;
            passes[count++] = (tile_pass){i * row_plane, j * panel_plane, before - weight};
            before = weight;
        }
    return count;
}

/* One pass over bits. */
static inline tile_runs tile_runs_of_bits(const int64_t *offsets, int64_t count, int64_t words) {
    return (tile_runs){offsets, offsets + count, words, TILE_BITS, 1, NULL, NULL};
}

/* Passes over planes; `passes` is theirs to fill. */
static inline tile_runs tile_runs_of_planes(const int64_t *offsets, int64_t count, int64_t words,
                                            const bnn_planes *planes, int64_t row_plane,
                                            tile_pass passes[TILE_MAX_PASSES]) {
    const int masks = planes->masked ? 2 : 1;
    const int n = tile_passes(planes, row_plane, count * words * masks * TILE_CHANNELS, passes);
    return (tile_runs){offsets, offsets + count, words, masks == 2 ? TILE_MASKED : TILE_SIGNS,
                       planes->step == 2, passes, passes + n};
}

#endif
