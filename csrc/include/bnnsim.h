/*
 * The C interface of bnnsim's kernels, and the contract that all of them keep.
 *
 * Bits.   A row of K values in {-1, +1} is bnn_words(K) uint64 words. Element 64*w + i is bit i of
 *         word w (bit 0 = least significant); bit 1 = +1, bit 0 = -1; the bits past K are zero.
 *         Kernels refuse activations with a non-zero tail (BNN_ERR_TAIL); packing refuses weights.
 *         accumulator = K - 2 * popcount(a xor b): equal tails never count as mismatches.
 * Planes. Values on a grid low + step * u, u of 1 to 8 bits, are that many planes of bits, each laid
 *         out as bits are: plane i holds bit i of every u. Planes lie [image][plane][pixel][word], a
 *         row of a matrix being an image of one pixel. Bits are the plane of low -1 and step 2,
 *         ternaries those of low -1, step 1 and 2 planes.
 * Layout. Row-major. Dense activations (M, K); images (N, H, W, C), channels last, all groups
 *         contiguous from bit 0 of a pixel's words. Dense weights (N, K); convolution weights
 *         (C_out, R, S, C / groups). Bit tensors replace the last axis by its words.
 * Memory. The caller owns every buffer; kernels keep no pointer and write only `out`, which must
 *         not overlap an input. Natural alignment of the element is enough.
 * Limits. Sizes are at least 1; any product of sizes that does not fit an index is BNN_ERR_SIZE.
 *         K of one dot product: at most BNN_MAX_K_BIT for bit operands (then |acc| <= K fits int32),
 *         at most BNN_MAX_K_INT where an operand is an integer: sums there are exact int64 and a
 *         result outside int32 is BNN_ERR_OVERFLOW, never a wrapped number. The byte kernels sum in
 *         int32 and take K up to BNN_MAX_K_BYTE, where nothing can overflow.
 * Threads. Every function is reentrant, also in the child of a fork.
 * Errors. Every kernel returns a bnn_status; on an error `out` holds no meaning.
 */
#ifndef BNNSIM_H
#define BNNSIM_H

#include <stdint.h>

#define BNN_WORD_BITS 64
#define BNN_MAX_K_BIT INT64_C(2147483647)
#define BNN_MAX_K_BYTE INT64_C(65793) /* 255 * 128 * 65793 is the last product sum below 2^31 */
#define BNN_MAX_K_LOOKUP ((INT64_C(1) << 22) - 1) /* times BNN_MAX_LOOKUP is below 2^31 */
#define BNN_MAX_LOOKUP 511 /* 64 of them fit int16 */
#define BNN_MAX_K_INT (INT64_C(1) << 24) /* |int32| * |int8| * 2^24 <= 2^62 */

/* Name and text of every status; the text ends the sentence "expected ...". */
#define BNN_STATUS_LIST(X)                                                                         \
    X(OK, "no error")                                                                              \
    X(ERR_SIZE, "every size at least 1 and index products below 2^63 bytes")                       \
    X(ERR_K, "K within the kernel's limit (bits 2^31 - 1, integers 2^24, look-ups 2^22 - 1, bytes 65793)")            \
    X(ERR_GEOMETRY, "a window that fits: kernel, stride, dilation >= 1, pads >= 0, output >= 1")   \
    X(ERR_GROUPS, "groups that divide both channel counts")                                        \
    X(ERR_PAD_VALUE, "pad_value -1, 0 or +1")                                                      \
    X(ERR_TAIL, "zero bits past the last element of every packed row")                             \
    X(ERR_NAN, "numbers only, found NaN")                                                          \
    X(ERR_VALUE, "values of the stated set only")                                                  \
    X(ERR_DIVISION, "sums that the divisor divides evenly")                                         \
    X(ERR_OVERFLOW, "results that fit the output type")                                            \
    X(ERR_EMPTY_WINDOW, "at least one in-image tap in every pooling window")                       \
    X(ERR_DTYPE, "an element type that this kernel knows")                                         \
    X(ERR_MEMORY, "enough memory for the scratch rows")

typedef enum bnn_status {
#define BNN_STATUS_ENUM(name, text) BNN_##name,
    BNN_STATUS_LIST(BNN_STATUS_ENUM)
#undef BNN_STATUS_ENUM
} bnn_status;

typedef enum bnn_dtype {
    BNN_UINT8,
    BNN_INT8,
    BNN_INT16,
    BNN_INT32,
    BNN_FLOAT32,
    BNN_FLOAT64
} bnn_dtype;

/* A sliding window over (batch, height, width), as convolutions and poolings share it. */
typedef struct bnn_window {
    int64_t batch, height, width;
    int64_t kernel_h, kernel_w;
    int64_t stride_h, stride_w;
    int64_t dilation_h, dilation_w;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
} bnn_window;

/* channels counts all groups; a weight has channels / groups of them. */
typedef struct bnn_conv {
    bnn_window window;
    int64_t channels, out_channels, groups;
} bnn_conv;

static inline int64_t bnn_words(int64_t K) { return (K + BNN_WORD_BITS - 1) / BNN_WORD_BITS; }

const char *bnn_status_text(int status);
int bnn_window_out(const bnn_window *window, int64_t *out_h, int64_t *out_w);
int bnn_conv_out(const bnn_conv *conv, int64_t *out_h, int64_t *out_w);

/* ---- Dispatch (dispatch.c, from kernels.def) ------------------------------------------------ */

typedef enum bnn_isa {
    BNN_ISA_ref,
    BNN_ISA_neon,
    BNN_ISA_avx2,
    BNN_ISA_avx512,
    BNN_ISA_COUNT
} bnn_isa;

typedef enum bnn_op {
#define BNN_OP(op) BNN_OP_##op,
#define BNN_KERNEL(op, isa, features, symbol, tile_m, tile_n)
#include "../kernels.def"
#undef BNN_OP
#undef BNN_KERNEL
    BNN_OP_COUNT
} bnn_op;

typedef void (*bnn_function)(void); /* cast to the op's type before the call */

/* tile_m x tile_n: the rows (or pixels) and output channels that one inner tile computes. */
typedef struct bnn_kernel {
    const char *op, *isa, *features, *symbol;
    int op_id, isa_id, tile_m, tile_n;
    int compiled, supported;
    bnn_function function; /* NULL where not compiled in */
} bnn_kernel;

int bnn_kernel_count(void);
const bnn_kernel *bnn_kernel_at(int index);
const char *bnn_op_name(int op);
const char *bnn_isa_name(int isa);
/* Best supported kernel of an op whose ISA is not above `isa`; at worst the ref kernel. */
const bnn_kernel *bnn_select(int op, int isa);

/* ---- Weight panels (panels.c) --------------------------------------------------------------- */

/* Bit kernels read weights as panels of tile_n output channels, [ceil(N / tile_n)][word][tile_n],
 * missing channels zero; the groups of a convolution are packed one after the other, N being the
 * output channels of a group. With tile_n = 1 that is the plain (N, words) layout. */
int64_t bnn_panel_words(int64_t N, int64_t words, int64_t tile_n); /* -1: too large */
int bnn_pack_panels(const uint64_t *weights, int64_t N, int64_t words, int64_t tile_n,
                    uint64_t *panels);
/* out[tap][n] = sum of the weights of output channel n at that tap, (R * S, N) int32. */
int bnn_tap_sums(const uint64_t *weights, int64_t N, int64_t taps, int64_t channels, int32_t *out);
/* The thresholds of the output channels of a product over K, in terms of its mismatches:
 * +1 iff mismatches < floor(margins[n] / 2), or, where bit n of flips (words(N)) is set, iff not.
 * acc = K - 2 * mismatches >= t is margin K - t + 2; acc <= t is margin K - t + 1, flipped. */
typedef struct bnn_limits {
    const int64_t *margins;
    const uint64_t *flips;
    int bits;           /* of planes only: of the levels that thresholds make */
    int64_t channels;   /* from a channel's margin to its next */
    int64_t out_stride; /* words from one plane of an image's levels to the next */
} bnn_limits;
int bnn_pack_limits(const int32_t *t, const int8_t *direction, int64_t N, int64_t K,
                    int64_t *margins, uint64_t *flips);
int bnn_check_tails(const uint64_t *words, int64_t rows, int64_t K);

/* What the operands of a product of planes hold. An activation is low + step * (sum of 2^i times bit
 * i); the planes of an image lie x_stride words apart. A weight is the sum of 2^j t_j: each t_j is
 * the sign of bit j (1 = +1) or, where `masked`, that sign or 0 where the mask's bit is 0. */
typedef struct bnn_planes {
    int x_bits, w_bits, masked;
    int32_t low, step; /* step: 1 or 2 */
    int64_t x_stride;
    const int32_t *plus; /* of each output channel: 2^j over all its t_j that are +1 */
} bnn_planes;

/* Words of one output channel's weights over `words` words of inputs. */
static inline int64_t bnn_plane_words(const bnn_planes *planes, int64_t words) {
    return words * planes->w_bits * (planes->masked ? 2 : 1);
}

/* Weights (N, taps, channels) of at most 2^w_bits - 1 in size (odd where not masked) to rows of
 * [plane][tap][word], masked [plane][tap][word][sign, mask], which bnn_pack_panels then arranges;
 * tap_sums (taps, N) as above, plus (N) as in bnn_planes. */
int bnn_pack_plane_weights(const int16_t *weights, int64_t N, int64_t taps, int64_t channels,
                           int w_bits, int masked, uint64_t *rows, int32_t *tap_sums,
                           int32_t *plus);
/* bases[n]: the product of a channel before anything is counted: all that is counted lowers it. */
void bnn_plane_bases(const bnn_planes *planes, const int32_t *tap_sums, int64_t N, int64_t taps,
                     int32_t *bases);
/* Thresholds t (N, count) of a product of planes as limits of `bits` planes, margins
 * (2^bits - 1, N): what is missing to 2^bits - 1 thresholds is never met. */
int bnn_pack_plane_limits(const int32_t *t, const int8_t *direction, const int32_t *bases,
                          const bnn_planes *planes, int64_t N, int64_t count, int bits,
                          int64_t *margins, uint64_t *flips);

/* Byte kernels read int8 weights as panels [ceil(N / tile_n)][step][tile_n][4], a step being 4
 * successive values; each of the `taps` rows of `length` values is filled with zeros to whole
 * steps, and the groups follow each other as above. */
static inline int64_t bnn_byte_steps(int64_t length) { return (length + 3) / 4; }
int64_t bnn_byte_panel_size(int64_t N, int64_t taps, int64_t length, int64_t tile_n); /* or -1 */
int bnn_pack_byte_panels(const int8_t *weights, int64_t N, int64_t taps, int64_t length,
                         int64_t tile_n, int8_t *panels);
int bnn_byte_tap_sums(const int8_t *weights, int64_t N, int64_t taps, int64_t length, int32_t *out);

/* ---- Threads (pool.c) ------------------------------------------------------------------------ */

typedef int bnn_part(const void *context, int64_t index);
/* Runs parts 0 to parts - 1 once each, on at most `threads` threads of which the caller is one;
 * returns BNN_OK or the status of a part that failed. */
int bnn_parallel(int threads, int64_t parts, bnn_part *part, const void *context);

/* How many threads the calls of the calling thread take that do not say (0); at first 1. Setting
 * gives what it was before. */
int bnn_usual_threads(void);
int bnn_set_threads(int threads);

/* ---- Calls (calls.c, run.c) ------------------------------------------------------------------ */

/* Which words of Philox4x32-10 a tensor draws from: key = seed, counter = (block, node, sample). */
typedef struct bnn_draws {
    uint64_t seed;
    uint32_t node, sample;
    int64_t first; /* number of the first element in the whole run; first + P * C <= 2^62 */
    int bits;      /* per draw: 1, 2, 4, 8 or 16 */
} bnn_draws;

/* One call of any kernel: calls.c says which field is which argument; fields that the kernel's type
 * lacks stay 0. What a call works through is `conv.window.batch` images where its op has a window,
 * else M rows; x_bytes and out_bytes lead from one row to the next, of the matrices, or of the input
 * and the output images. */
typedef struct bnn_call {
    const bnn_kernel *kernel;
    const void *x, *x2, *weights, *weights2; /* x2: of x's sizes */
    const int32_t *tap_sums;
    bnn_limits limits;
    bnn_draws draws;
    int type, out_type;
    int32_t pad_value;
    bnn_planes planes;
    int64_t M, N, K;
    bnn_conv conv;
    void *out;
    int64_t x_bytes, out_bytes;
    int64_t first; /* rows that a cut has left out before this call's, for ops whose rows differ */
} bnn_call;
int bnn_invoke(const bnn_call *call); /* on the calling thread */
/* The same result for every number of threads (0: bnn_usual_threads). bnn_run leaves a call that is
 * too small to gain on the caller's thread; bnn_run_parts always cuts, and expects sizes that the
 * kernel accepts. */
int bnn_run(const bnn_call *call, int threads);
int bnn_run_parts(const bnn_call *call, int threads);

/* ---- Programs (program.c) -------------------------------------------------------------------- */

/* Where a buffer lies, per image: in the arena, or in the caller's buffer number `external`. */
typedef struct bnn_slot {
    int64_t image_bytes;
    int64_t offset;   /* in the arena of one image */
    int32_t rank;     /* buffers that overlap in time and lie higher have a higher one */
    int32_t external; /* -1: in the arena */
} bnn_slot;

/* A call for one image, without buffers, and the slots that they come from; x2 is -1 where the op has
 * none. */
typedef struct bnn_step {
    bnn_call call;
    int32_t x, x2, out;
} bnn_step;

/* Steps in order. Every buffer of `tile` images fits bnn_arena_bytes(program, tile). */
typedef struct bnn_program {
    const bnn_step *steps;
    const bnn_slot *slots;
    int64_t step_count, slot_count, arena_image_bytes, tile;
} bnn_program;

/* What a program runs on: `external` buffers of all images, and `arenas` of arena_bytes each. */
typedef struct bnn_batch {
    int64_t images, first_image;
    char *const *external;
    char *arenas;
    int64_t arena_bytes;
    uint64_t seed;
    uint32_t sample;
} bnn_batch;

/* How long an image takes on one thread, roughly, in products of bits. */
double bnn_program_work(const bnn_program *program);
int64_t bnn_arena_bytes(const bnn_program *program, int64_t images);
/* How many arenas a run needs, and of how many images each. */
void bnn_program_parts(const bnn_program *program, int64_t images, int threads, int64_t *arenas,
                       int64_t *part_images);
/* Runs a program on a batch, in parts of so many images as bnn_program_parts says. On an error
 * *failed is the number of a step that failed. */
int bnn_run_program(const bnn_program *program, const bnn_batch *batch, int threads,
                    int64_t *failed);

/* ---- Kernel types, one per op --------------------------------------------------------------- */

/* a (M, words(K)), panels of (N, words(K)) -> out (M, N) */
typedef int bnn_gemm_bit_fn(const uint64_t *a, const uint64_t *panels, int64_t M, int64_t N,
                            int64_t K, int32_t *out);
/* x (batch, H, W, words(C)), panels of (C_out, R * S * words(C / groups))
 * -> (batch, OH, OW, C_out). A tap outside the image counts as pad_value in every channel; 0 leaves
 * it out. */
typedef int bnn_conv2d_bit_fn(const uint64_t *x, const uint64_t *panels, const int32_t *tap_sums,
                              const bnn_conv *conv, int pad_value, int32_t *out);
/* The same two with the threshold of every output channel: acc (P, N) as above -> (P, words(N)). */
typedef int bnn_gemm_bit_threshold_fn(const uint64_t *a, const uint64_t *panels,
                                      const bnn_limits *limits, int64_t M, int64_t N, int64_t K,
                                      uint64_t *out);
typedef int bnn_conv2d_bit_threshold_fn(const uint64_t *x, const uint64_t *panels,
                                        const int32_t *tap_sums, const bnn_limits *limits,
                                        const bnn_conv *conv, int pad_value, uint64_t *out);
/* Products of planes, |product| within int32 for all values of the operands. Panels of
 * (N, bnn_plane_words(words)), tap_sums from bnn_pack_plane_weights; a tap outside the image counts as
 * pad_value, which is no larger in size than what the grid spans. */
typedef int bnn_gemm_planes_fn(const uint64_t *a, const uint64_t *panels, const int32_t *tap_sums,
                               const bnn_planes *planes, int64_t M, int64_t N, int64_t K,
                               int32_t *out);
typedef int bnn_conv2d_planes_fn(const uint64_t *x, const uint64_t *panels, const int32_t *tap_sums,
                                 const bnn_planes *planes, const bnn_conv *conv, int pad_value,
                                 int32_t *out);
/* The same two with thresholds: how many are met, as limits->bits planes. */
typedef int bnn_gemm_planes_threshold_fn(const uint64_t *a, const uint64_t *panels,
                                         const int32_t *tap_sums, const bnn_planes *planes,
                                         const bnn_limits *limits, int64_t M, int64_t N, int64_t K,
                                         uint64_t *out);
typedef int bnn_conv2d_planes_threshold_fn(const uint64_t *x, const uint64_t *panels,
                                           const int32_t *tap_sums, const bnn_planes *planes,
                                           const bnn_limits *limits, const bnn_conv *conv,
                                           int pad_value, uint64_t *out);
/* Integer activations of a_type (uint8, int8, int16, int32) x int8 weights. */
typedef int bnn_gemm_int_fn(const void *a, int a_type, const int8_t *b, int64_t M, int64_t N,
                            int64_t K, int32_t *out);
typedef int bnn_conv2d_int_fn(const void *x, int x_type, const int8_t *w, const bnn_conv *conv,
                              int32_t pad_value, int32_t *out);
/* Integer activations x bit weights (plain layout). */
typedef int bnn_gemm_int_bit_fn(const void *a, int a_type, const uint64_t *b, int64_t M, int64_t N,
                                int64_t K, int32_t *out);
typedef int bnn_conv2d_int_bit_fn(const void *x, int x_type, const uint64_t *w,
                                  const bnn_conv *conv, int32_t pad_value, int32_t *out);
/* uint8 or int8 activations x int8 weights in byte panels; pad_value within the activation type. */
typedef int bnn_gemm_byte_fn(const void *a, int a_type, const int8_t *panels,
                             const int32_t *tap_sums, int64_t M, int64_t N, int64_t K,
                             int32_t *out);
typedef int bnn_conv2d_byte_fn(const void *x, int x_type, const int8_t *panels,
                               const int32_t *tap_sums, const bnn_conv *conv, int32_t pad_value,
                               int32_t *out);
/* Bytes x bit weights, in panels over the whole dot product (R * S * C / groups values without
 * gaps); byte b stands for map[b], from -BNN_MAX_LOOKUP to BNN_MAX_LOOKUP, and so does pad_value. A
 * matrix (M, K) is M images of one pixel. -> sums (batch, OH, OW, C_out), or thresholds' bits */
typedef int bnn_byte_bit_fn(const uint8_t *x, const int16_t *map, const uint64_t *panels,
                            const bnn_conv *conv, int32_t pad_value, int32_t *out);
typedef int bnn_byte_bit_threshold_fn(const uint8_t *x, const int16_t *map, const uint64_t *panels,
                                      const bnn_limits *limits, const bnn_conv *conv,
                                      int32_t pad_value, uint64_t *out);
/* float32 x bit weights in such panels -> float64, or float32. Sums are formed in double, of exact
 * products; the `single` ops form them in float, which depends on their order. */
typedef int bnn_float_bit_fn(const float *x, const uint64_t *panels, const bnn_conv *conv,
                             float pad_value, int out_type, void *out);
typedef bnn_float_bit_fn bnn_float_bit_single_fn;
/* float32 x weights in panels [ceil(N / tile_n)][K][tile_n] of double (single: of float), missing
 * channels zero, group after group. */
typedef int bnn_float_float_fn(const float *x, const void *panels, const bnn_conv *conv,
                               float pad_value, int out_type, void *out);
typedef bnn_float_float_fn bnn_float_float_single_fn;
/* acc (P, C), t (C), direction (C) -> (P, words(C)): +1 iff acc >= t (+1) or acc <= t (-1). */
typedef int bnn_threshold_pack_fn(const int32_t *acc, const int32_t *t, const int8_t *direction,
                                  int64_t P, int64_t C, uint64_t *out);
/* acc (P, C), t (C, n), direction (C) -> int8 (P, C): base + number of thresholds met. */
typedef int bnn_multi_threshold_fn(const int32_t *acc, const int32_t *t, const int8_t *direction,
                                   int64_t P, int64_t C, int64_t n, int base, int8_t *out);
/* x (P, C) int8, int32 or float32 -> (P, words(C)): +1 iff x >= 0 (so -0.0 is +1). */
typedef int bnn_pack_sign_fn(const void *x, int x_type, int64_t P, int64_t C, uint64_t *out);
/* x (P, C) -> (P, words(C)): +1 iff u < floor(clip((x + 1) / 2, 0, 1) * 2^bits + 0.5), each step in
 * float32. u of element e: bits [bits * j, bits * j + bits) of block e / (128 / bits), a
 * little-endian number of 128 bits, with j = e % (128 / bits). */
typedef int bnn_stochastic_pack_fn(const float *x, const bnn_draws *draws, int64_t P, int64_t C,
                                   uint64_t *out);
/* x (images, P, C) of x_type (uint8, int8 or int16) on the grid of `planes`, of which low, step and
 * x_bits count -> (images, x_bits, P, words(C)); and back. */
typedef int bnn_pack_planes_fn(const void *x, int x_type, const bnn_planes *planes, int64_t images,
                               int64_t P, int64_t C, uint64_t *out);
typedef int bnn_unpack_planes_fn(const uint64_t *x, int x_type, const bnn_planes *planes,
                                 int64_t images, int64_t P, int64_t C, void *out);
typedef int bnn_unpack_bit_fn(const uint64_t *words, int64_t P, int64_t C, int8_t *out);
/* x (batch, H, W, words): per bit, OR of the window's in-image taps, AND where use_and is 1. */
typedef int bnn_maxpool_bit_fn(const uint64_t *x, const uint64_t *use_and, const bnn_window *window,
                               int64_t words, uint64_t *out);
/* x (batch, H, W, C) int8, uint8, int16 or int32 -> same type: largest in-image tap. */
typedef int bnn_maxpool_int_fn(const void *x, int x_type, const bnn_window *window,
                               int64_t channels, void *out);

/* x (P, C) of x_type -> (P, C) of out_type (both integers): mul * x[p] + offset[(first + p) % period],
 * offset (period, C), modulo 2^32; `out` may be x where the types are one. */
typedef int bnn_scale_int_fn(const void *x, int x_type, int32_t mul, const int32_t *offset,
                             int64_t period, int64_t first, int64_t P, int64_t C, void *out,
                             int out_type);

/* x (P, C) of any type -> float32 ((float)x - shift[c]) * scale[c] + bias[c], every step rounded to
 * float32. terms (3, C) are shift, scale and bias; a step whose bit `which` lacks is left out, since
 * adding 0 or multiplying by 1 is not always nothing (-0.0, NaN). */
enum { BNN_SHIFT = 1, BNN_SCALE = 2, BNN_BIAS = 4 };
typedef int bnn_affine_fn(const void *x, int x_type, const float *terms, int which, int64_t P,
                          int64_t C, float *out);
/* x (P, C) int32 or float32 -> the same type: x + x2; x * x2 (floats); x raised to terms[0] and then
 * lowered to terms[1]; x * terms[c] where it is not >= 0 (floats); (x * terms[0] + terms[1]) /
 * terms[2], which must divide evenly, modulo 2^32 (integers). Of both ops `out` may be an
 * input of a type of the same size. */
enum { BNN_ADD, BNN_MULTIPLY, BNN_CLIP, BNN_PRELU, BNN_RATIO };
typedef int bnn_pointwise_fn(const void *x, const void *x2, int type, int what, const void *terms,
                             int64_t P, int64_t C, void *out);
/* x (batch, H, W, C): the largest in-image tap of a window, NaN where there is one, or the sum of
 * those taps in double, row by row, over how many they are (padded: over the whole window). */
enum { BNN_LARGEST, BNN_AVERAGE, BNN_AVERAGE_PADDED };
typedef int bnn_pool_float_fn(const float *x, const bnn_window *window, int how, int64_t C,
                              float *out);
/* P rows of `row` bytes into rows of `out_row`, from byte `first` on; the rest stays. */
typedef int bnn_copy_channels_fn(const void *x, int64_t P, int64_t row, int64_t out_row,
                                 int64_t first, void *out);

/* Runs nothing but xor, popcount and add on registers for about `seconds`: the ceiling of the bit
 * kernels of that instruction set on this machine, in binary multiply-accumulates per second. */
typedef int bnn_raw_rate_fn(double seconds, double *macs_per_s);

#define BNN_OP(op)
#define BNN_KERNEL(op, isa, features, symbol, tile_m, tile_n) bnn_##op##_fn symbol;
#include "../kernels.def"
#undef BNN_OP
#undef BNN_KERNEL

#endif
