/* Bytes x bit weights with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#include <immintrin.h>
#include <stdint.h>

#define VECTOR_BYTES 64
#define KERNEL(op) bnn_##op##_avx512
/* Few positions leave lanes idle, many channels repay tables for each position (measured). */
#define BY_ROWS(channels, count) ((count) <= 6 || (channels) >= 256)
#define STEP 16      /* values of a position */
#define VECTORS 4    /* of 32 channels, in a tile */
#define ROWS 2       /* of a tile */
#define MOST_WORDS 4 /* whose tables are made at once */
#define MOST_STEPS (MOST_WORDS * BNN_WORD_BITS / STEP)
#define TABLE_LINES (32 * MOST_STEPS * 4)

#include "../byte_bit.inc"

/*
 * Blocks by rows: output channels are lanes, 32 to a register. Of each 16 values of a position, the
 * sums of any subset of the first five, the next five and the last six are tables in registers, in
 * which a permutation looks up what each lane's 16 weights name: three of them for 512 products.
 * That is the sum T of the values with weight +1; the product is 2 T less the sum of all values.
 */

/* Entry i: the sum of those values whose bit is set in i. */
typedef struct subsets {
    __m512i first, second, third[2];
} subsets;

/* Words whose values add up to a uint16 that starts high enough, at -low for each value. */
typedef struct headroom {
    int64_t words;
    int32_t low; /* no value is lower */
} headroom;

static headroom headroom_of(const lookup *l) {
    int32_t low = l->pad < 0 ? l->pad : 0, high = l->pad > 0 ? l->pad : 0;
    for (int i = 0; i < 256; i++) {
        low = l->map[i] < low ? l->map[i] : low;
        high = l->map[i] > high ? l->map[i] : high;
    }
    const int64_t most = UINT16_MAX / BNN_WORD_BITS / (high > low ? high - low : 1);
    return (headroom){bnn_min(most, MOST_WORDS), low};
}

static inline __m512i subsets_of_five(const int16_t *v) {
    const __m512i a = _mm512_maskz_set1_epi16(0xaaaaaaaa, v[0]);
    const __m512i b = _mm512_maskz_set1_epi16(0xcccccccc, v[1]);
    const __m512i c = _mm512_maskz_set1_epi16(0xf0f0f0f0, v[2]);
    const __m512i d = _mm512_maskz_set1_epi16(0xff00ff00, v[3]);
    const __m512i e = _mm512_maskz_set1_epi16(0xffff0000, v[4]);
    return _mm512_add_epi16(_mm512_add_epi16(_mm512_add_epi16(a, b), _mm512_add_epi16(c, d)), e);
}

/* Fill the tables of a position's values; gives the sum of all. */
static int32_t fill_subsets(const int16_t *row, int64_t steps, subsets *to) {
    int32_t sum = 0;
    for (int64_t i = 0; i < steps * STEP; i++) sum += row[i];
    for (int64_t s = 0; s < steps; s++, row += STEP) {
        to[s].first = subsets_of_five(row);
        to[s].second = subsets_of_five(row + 5);
        to[s].third[0] = subsets_of_five(row + 10);
        to[s].third[1] = _mm512_add_epi16(to[s].third[0], _mm512_set1_epi16(row[15]));
    }
    return sum;
}

/* A word of 32 channels, of which `panels` panels exist, 16 weights to a lane; the second 16
 * channels lie in the odd lanes. */
static void fill_weights(const uint64_t *panel, int64_t pitch, int64_t panels,
                         __m512i (*to)[VECTORS], int v) {
    const __m512i low = _mm512_set_epi16(61, 29, 57, 25, 53, 21, 49, 17, 45, 13, 41, 9, 37, 5, 33, 1,
                                         60, 28, 56, 24, 52, 20, 48, 16, 44, 12, 40, 8, 36, 4, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(2));
    __m512i given[4];
    for (int i = 0; i < 4; i++)
        given[i] = i < panels ? _mm512_loadu_si512(panel + i * pitch) : _mm512_setzero_si512();
    const __m512i a = _mm512_permutex2var_epi16(given[0], low, given[2]);
    const __m512i b = _mm512_permutex2var_epi16(given[1], low, given[3]);
    const __m512i c = _mm512_permutex2var_epi16(given[0], high, given[2]);
    const __m512i d = _mm512_permutex2var_epi16(given[1], high, given[3]);
    to[0][v] = _mm512_shuffle_i64x2(a, b, 0x44);
    to[1][v] = _mm512_shuffle_i64x2(a, b, 0xee);
    to[2][v] = _mm512_shuffle_i64x2(c, d, 0x44);
    to[3][v] = _mm512_shuffle_i64x2(c, d, 0xee);
}

/* Add 16-bit sums to the 32 totals of their channels. */
static inline void add_totals(__m512i sums, int is_first, int32_t *totals) {
    __m512i even = _mm512_and_si512(sums, _mm512_set1_epi32(UINT16_MAX));
    __m512i odd = _mm512_srli_epi32(sums, 16);
    if (!is_first) {
        even = _mm512_add_epi32(even, _mm512_load_si512(totals));
        odd = _mm512_add_epi32(odd, _mm512_load_si512(totals + 16));
    }
    _mm512_store_si512(totals, even);
    _mm512_store_si512(totals + 16, odd);
}

/* Some words of a block: tables of its positions, and where they add to the totals of each. */
typedef struct pass {
    const subsets *tables;
    int64_t steps, pitch; /* of totals */
    __m512i start;
    int is_first;
} pass;

/* The sums of a few positions and vectors of channels, whose weights are given step by step. */
ALWAYS_INLINE void sum_tile(const pass *of, const __m512i (*weights)[VECTORS], int64_t r,
                            const int rows, const int vectors, int32_t *totals) {
    const subsets *tables[ROWS];
    __m512i sums[ROWS][VECTORS];
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++) {
        tables[i] = of->tables + (r + i) * MOST_STEPS;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = of->start;
    }
    for (int64_t s = 0; s < of->steps; s++) {
        __m512i at[3][VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            at[0][v] = weights[s][v];
            at[1][v] = _mm512_srli_epi16(at[0][v], 5);
            at[2][v] = _mm512_srli_epi16(at[0][v], 10);
        }
#pragma GCC unroll 2
        for (int i = 0; i < rows; i++) {
            const subsets *t = tables[i] + s;
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                sums[i][v] = _mm512_add_epi16(
                    sums[i][v], _mm512_permutexvar_epi16(at[0][v], t->first));
                sums[i][v] = _mm512_add_epi16(
                    sums[i][v], _mm512_permutexvar_epi16(at[1][v], t->second));
                sums[i][v] = _mm512_add_epi16(
                    sums[i][v],
                    _mm512_permutex2var_epi16(t->third[0], at[2][v], t->third[1]));
            }
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            add_totals(sums[i][v], of->is_first, totals + (r + i) * of->pitch + 32 * v);
}

#define TILE_CASE(rows, vectors)                                                                   \
    case (rows) * 8 + (vectors): sum_tile(of, weights, r, rows, vectors, totals); break;
#define TILE_CASES(rows)                                                                           \
    TILE_CASE(rows, 1) TILE_CASE(rows, 2) TILE_CASE(rows, 3) TILE_CASE(rows, 4)

/* Add a pass over words [word, word + words) to the totals of every position and channel. */
static void sum_channels(const lookup *l, const uint64_t *panels, int64_t word, int64_t words,
                         int64_t N, int64_t count, const pass *of, int32_t *totals) {
    for (int64_t n = 0; n < N; n += 32 * VECTORS, totals += 32 * VECTORS) {
        const int vectors = (int)((bnn_min(N - n, 32 * VECTORS) + 31) / 32);
        __m512i weights[MOST_STEPS][VECTORS];
        for (int64_t w = 0; w < words; w++)
            for (int v = 0; v < vectors; v++) {
                const int64_t panel = n / PANEL + 4 * v;
                fill_weights(panels + (panel * l->words + word + w) * PANEL, l->words * PANEL,
                             (N + PANEL - 1) / PANEL - panel, weights + 4 * w, v);
            }
        for (int64_t r = 0; r < count; r += ROWS)
            switch ((int)bnn_min(ROWS, count - r) * 8 + vectors) { TILE_CASES(1) TILE_CASES(2) }
    }
}

/* Store the products of position `at`, twice its totals less a number, or which meet a bound. */
static void store_row(const target *t, const int32_t *totals, int32_t less, int64_t N, int64_t all,
                      int64_t first, int64_t at) {
    for (int64_t n = 0; n < N; n += BNN_WORD_BITS) {
        const int64_t some = bnn_min(BNN_WORD_BITS, N - n);
        const uint64_t valid = bnn_valid_bits(some, 0);
        uint64_t met = 0;
        for (int v = 0; v < 4; v++) {
            const __mmask16 lanes = (__mmask16)(valid >> (16 * v));
            const __m512i sum = _mm512_maskz_loadu_epi32(lanes, totals + n + 16 * v);
            const __m512i product =
                _mm512_sub_epi32(_mm512_slli_epi32(sum, 1), _mm512_set1_epi32(less));
            const int64_t c = first + n + 16 * v;
            if (t->bounds == NULL)
                _mm512_mask_storeu_epi32(t->sums + at * all + c, lanes, product);
            else
                met |= (uint64_t)_mm512_mask_cmpge_epi32_mask(
                           lanes, product, _mm512_maskz_loadu_epi32(lanes, t->bounds + c))
                       << (16 * v);
        }
        if (t->bounds != NULL)
            bnn_put_bits(t->bits + at * bnn_words(all), first + n,
                         met ^ bnn_group_word(t->flips, first + n, some, 0), some);
    }
}

/* Add `words` words from `word` on to the totals, and to what is taken off each position's. */
static void sum_words(const lookup *l, const target *t, int64_t group, int64_t word, int64_t words,
                      int64_t count, int32_t low, uint32_t *less) {
    const int64_t N = l->conv->out_channels / l->conv->groups, first = word * BNN_WORD_BITS;
    const int64_t steps = (bnn_min(words * BNN_WORD_BITS, l->K - first) + STEP - 1) / STEP;
    const int32_t start = -low * (int32_t)(steps * STEP);
    subsets *tables = (subsets *)l->tables;
    for (int64_t r = 0; r < count; r++)
        less[r] += (uint32_t)(2 * start + fill_subsets(row_of(l, t, r, first, steps * STEP), steps,
                                                       tables + r * MOST_STEPS));
    const pass of = {tables, steps, bnn_words(N) * BNN_WORD_BITS, _mm512_set1_epi16((int16_t)start),
                     word == 0};
    sum_channels(l, l->panels + group * l->group_words, word, words, N, count, &of,
                 (int32_t *)t->totals);
}

static void multiply_rows(const lookup *l, const target *t, int64_t group, int64_t p,
                          int64_t count) {
    const int64_t all = l->conv->out_channels, N = all / l->conv->groups;
    const int32_t *totals = (const int32_t *)t->totals;
    const headroom room = headroom_of(l);
    uint32_t less[32] = {0};
    for (int64_t word = 0; word < l->words; word += room.words)
        sum_words(l, t, group, word, bnn_min(room.words, l->words - word), count, room.low, less);
    for (int64_t r = 0; r < count; r++)
        store_row(t, totals + r * bnn_words(N) * BNN_WORD_BITS, (int32_t)less[r], N, all, group * N,
                  p + r);
}
#endif
