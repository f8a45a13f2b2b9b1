/* Bytes x bit weights with AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#include <immintrin.h>
#include <stdint.h>

#define VECTOR_BYTES 64
#define KERNEL(op) bnn_##op##_avx512
/* Lanes would mostly idle on few positions; rows of a matrix need no gathering (measured). */
#define BY_ROWS(l, count) ((count) <= 6 || (is_matrix((l)->conv) && (l)->K >= 256))
#define MAP_BYTES map_32_bytes
#define STEP 16       /* values of a position */
#define VECTORS 4     /* of 32 channels, in a tile */
#define ROWS 2        /* of a tile */
#define MOST_WORDS 16 /* whose tables are made at once */
#define MOST_STEPS (MOST_WORDS * BNN_WORD_BITS / STEP)
#define CHANNELS (32 * VECTORS)
#define TABLE_LINES (32 * MOST_STEPS * 4)

/* What bytes stand for: of each quarter of the map the entry that their low bits name, of these the
 * one that their high bits name. There is room for a multiple of 32. */
static inline void map_32_bytes(const uint8_t *from, int64_t count, const int16_t *map,
                                int16_t *to) {
    __m512i held[8];
    for (int i = 0; i < 8; i++) held[i] = _mm512_loadu_si512(map + 32 * i);
    for (int64_t i = 0; i < count; i += 32) {
        const __mmask32 valid = count - i < 32 ? (1u << (count - i)) - 1 : UINT32_MAX;
        const __m512i at = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(valid, from + i));
        const __mmask32 odd = _mm512_test_epi16_mask(at, _mm512_set1_epi16(64));
        const __mmask32 high = _mm512_test_epi16_mask(at, _mm512_set1_epi16(128));
        __m512i found[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++)
            found[q] = _mm512_permutex2var_epi16(held[2 * q], at, held[2 * q + 1]);
        const __m512i below = _mm512_mask_blend_epi16(odd, found[0], found[1]);
        const __m512i above = _mm512_mask_blend_epi16(odd, found[2], found[3]);
        _mm512_store_si512(to + i, _mm512_mask_blend_epi16(high, below, above));
    }
}

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

/* How many steps a 16-bit sum takes that was at most 255, and what is added first, so that it stays
 * at least 0. */
typedef struct headroom {
    int64_t steps;
    int32_t start;
} headroom;

static headroom headroom_of(const lookup *l) {
    int32_t low = l->pad < 0 ? l->pad : 0, high = l->pad > 0 ? l->pad : 0;
    for (int i = 0; i < 256; i++) {
        low = l->map[i] < low ? l->map[i] : low;
        high = l->map[i] > high ? l->map[i] : high;
    }
    const int32_t steps = (UINT16_MAX - 255) / STEP / (high > low ? high - low : 1);
    return (headroom){steps, -low * STEP * steps};
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
    const __m512i low = _mm512_set_epi16(
        61, 29, 57, 25, 53, 21, 49, 17, 45, 13, 41, 9, 37, 5, 33, 1,
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

/* Up to MOST_WORDS words of a block by rows; the last pass stores what all have added up. */
typedef struct pass {
    const lookup *l;
    const target *t;
    const uint64_t *panels; /* of the first word */
    int64_t N, first, p, count; /* channels of the group, the first; positions, the first */
    int64_t words, steps;
    headroom room;
    int is_first, is_last;
    uint32_t less[32]; /* what twice a position's totals have too much */
} pass;

/* Add 16-bit sums and 256 times others to the totals (if any) of their 32 channels. */
static inline void add_totals(__m512i sums, __m512i carried, const int32_t *from, int32_t *to) {
    const __m512i low = _mm512_set1_epi32(UINT16_MAX);
    __m512i even = _mm512_slli_epi32(_mm512_and_si512(carried, low), 8);
    __m512i odd = _mm512_slli_epi32(_mm512_srli_epi32(carried, 16), 8);
    even = _mm512_add_epi32(even, _mm512_and_si512(sums, low));
    odd = _mm512_add_epi32(odd, _mm512_srli_epi32(sums, 16));
    if (from != NULL) {
        even = _mm512_add_epi32(even, _mm512_load_si512(from));
        odd = _mm512_add_epi32(odd, _mm512_load_si512(from + 16));
    }
    _mm512_store_si512(to, even);
    _mm512_store_si512(to + 16, odd);
}

/* Add the sums of a few positions and vectors of channels to totals of `pitch` channels each. */
ALWAYS_INLINE void sum_tile(const pass *of, const __m512i (*weights)[VECTORS],
                            const subsets *tables, const int rows, const int vectors,
                            const int32_t *from, int32_t *to, int64_t pitch) {
    const __m512i start = _mm512_set1_epi16((int16_t)of->room.start);
    __m512i sums[ROWS][VECTORS], carried[ROWS][VECTORS];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = carried[r][v] = _mm512_setzero_si512();
    for (int64_t s = 0; s < of->steps;) {
        const int64_t end = bnn_min(of->steps, s + of->room.steps);
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const __m512i low = _mm512_and_si512(sums[r][v], _mm512_set1_epi16(255));
                carried[r][v] = _mm512_add_epi16(carried[r][v], _mm512_srli_epi16(sums[r][v], 8));
                sums[r][v] = _mm512_add_epi16(start, low);
            }
        for (; s < end; s++) {
            __m512i at[3][VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                at[0][v] = weights[s][v];
                __asm__("" : "+v"(at[0][v])); /* or it is loaded three times */
                at[1][v] = _mm512_srli_epi16(at[0][v], 5);
                at[2][v] = _mm512_srli_epi16(at[0][v], 10);
            }
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                const subsets *t = tables + r * of->steps + s;
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    __m512i *sum = &sums[r][v];
                    *sum = _mm512_add_epi16(*sum, _mm512_permutexvar_epi16(at[0][v], t->first));
                    *sum = _mm512_add_epi16(*sum, _mm512_permutexvar_epi16(at[1][v], t->second));
                    *sum = _mm512_add_epi16(
                        *sum, _mm512_permutex2var_epi16(t->third[0], at[2][v], t->third[1]));
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            add_totals(sums[r][v], carried[r][v],
                       from == NULL ? NULL : from + r * pitch + 32 * v, to + r * pitch + 32 * v);
}

/* Store the products of 64 channels at most at a position, or which of them meet their bounds. */
static void store_products(const target *t, const int32_t *totals, uint32_t less, int64_t all,
                           int64_t channel, int64_t some, int64_t at) {
    uint64_t met = 0;
    for (int v = 0; v < 4; v++) {
        const __mmask16 lanes = (__mmask16)(bnn_valid_bits(some, 0) >> (16 * v));
        const __m512i twice = _mm512_slli_epi32(_mm512_load_si512(totals + 16 * v), 1);
        const __m512i product = _mm512_sub_epi32(twice, _mm512_set1_epi32((int32_t)less));
        const int64_t c = channel + 16 * v;
        if (t->bounds == NULL)
            _mm512_mask_storeu_epi32(t->sums + at * all + c, lanes, product);
        else
            met |= (uint64_t)_mm512_mask_cmpge_epi32_mask(
                       lanes, product, _mm512_maskz_loadu_epi32(lanes, t->bounds + c))
                   << (16 * v);
    }
    if (t->bounds != NULL)
        bnn_put_bits(t->bits + at * bnn_words(all), channel,
                     met ^ bnn_group_word(t->flips, channel, some, 0), some);
}

#define TILE_CASE(rows, vectors)                                                                   \
    case (rows) * 8 + (vectors):                                                                   \
        sum_tile(of, weights, tables + r * of->steps, rows, vectors, from, to, pitch);            \
        break;
#define TILE_CASES(rows)                                                                           \
    TILE_CASE(rows, 1) TILE_CASE(rows, 2) TILE_CASE(rows, 3) TILE_CASE(rows, 4)

/* A pass over the channels [n, n + some), whose weights are given step by step. */
static void sum_channels(const pass *of, const __m512i (*weights)[VECTORS], int64_t n,
                         int64_t some) {
    const subsets *tables = (const subsets *)of->l->tables;
    const int64_t all = of->l->conv->out_channels, held = bnn_words(of->N) * BNN_WORD_BITS;
    const int64_t pitch = of->is_first && of->is_last ? CHANNELS : held;
    _Alignas(64) int32_t products[ROWS * CHANNELS];
    for (int64_t r = 0; r < of->count; r += ROWS) {
        const int rows = (int)bnn_min(ROWS, of->count - r);
        int32_t *totals = (int32_t *)of->t->totals + r * held + n;
        const int32_t *from = of->is_first ? NULL : totals;
        int32_t *to = of->is_first && of->is_last ? products : totals;
        switch (rows * 8 + (int)((some + 31) / 32)) { TILE_CASES(1) TILE_CASES(2) }
        for (int i = 0; i < rows && of->is_last; i++)
            for (int64_t c = 0; c < some; c += BNN_WORD_BITS)
                store_products(of->t, to + i * pitch + c, of->less[r + i], all, of->first + n + c,
                               bnn_min(BNN_WORD_BITS, some - c), of->p + r + i);
    }
}

static void sum_pass(const pass *of) {
    const int64_t pitch = of->l->words * PANEL, panels = (of->N + PANEL - 1) / PANEL;
    for (int64_t n = 0; n < of->N; n += CHANNELS) {
        const int64_t some = bnn_min(CHANNELS, of->N - n);
        __m512i weights[MOST_STEPS][VECTORS];
        for (int64_t word = 0; word < of->words; word++)
            for (int v = 0; 32 * v < some; v++) {
                const int64_t panel = n / PANEL + 4 * v;
                fill_weights(of->panels + panel * pitch + word * PANEL, pitch, panels - panel,
                             weights + word * BNN_WORD_BITS / STEP, v);
            }
        sum_channels(of, weights, n, some);
    }
}

/* The tables of every position for `count` values from value k on. */
static void fill_tables(pass *of, int64_t k, int64_t count) {
    const int64_t starts = (of->steps + of->room.steps - 1) / of->room.steps * of->room.start;
    subsets *tables = (subsets *)of->l->tables;
    for (int64_t r = 0; r < of->count; r++, tables += of->steps) {
        const int16_t *row = row_of(of->l, of->t, of->p, r, k, count);
        of->less[r] += (uint32_t)(2 * starts + fill_subsets(row, of->steps, tables));
    }
}

static void multiply_rows(const lookup *l, const target *t, int64_t group, int64_t p,
                          int64_t count) {
    const int64_t N = l->conv->out_channels / l->conv->groups;
    const uint64_t *panels = l->panels + group * l->group_words;
    pass of = {.l = l, .t = t, .N = N, .first = group * N, .p = p, .count = count,
               .room = headroom_of(l)};
    for (int64_t word = 0; word < l->words; word += MOST_WORDS) {
        const int64_t k = word * BNN_WORD_BITS;
        const int64_t values = bnn_min(MOST_WORDS * BNN_WORD_BITS, l->K - k);
        of.panels = panels + word * PANEL, of.words = bnn_words(values);
        of.steps = (values + STEP - 1) / STEP;
        of.is_first = word == 0, of.is_last = word + of.words == l->words;
        fill_tables(&of, k, values);
        sum_pass(&of);
    }
}
#endif
