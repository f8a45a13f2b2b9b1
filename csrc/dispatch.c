/* Which kernels exist, which of them this CPU can run, and which one an op gets. */
#include <stddef.h>
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "include/bnnsim.h"

/* CPU features, as bits of a mask; the names are those of Linux in /proc/cpuinfo. */
#define BNN_PORTABLE 0u, ""
#define BNN_AVX512_NAMES "avx512f,avx512bw,avx512dq,avx512vl"
#define BNN_NEEDS_AVX2 8u, "avx2"
#define BNN_NEEDS_AVX512 1u, BNN_AVX512_NAMES
#define BNN_NEEDS_VPOPCNTDQ 3u, BNN_AVX512_NAMES ",avx512vpopcntdq"
#define BNN_NEEDS_VNNI 5u, BNN_AVX512_NAMES ",avx512vnni"
#define BNN_NEEDS_NEON 16u, "asimd"
#define BNN_NEEDS_DOTPROD 48u, "asimd,asimddp"

#define BNN_FEATURE_MASK(mask, names) mask
#define BNN_FEATURE_NAMES(mask, names) names
#define BNN_APPLY(macro, ...) macro(__VA_ARGS__)

#if defined(__x86_64__)
#define BNN_BUILT_avx2(symbol) symbol
#define BNN_BUILT_avx512(symbol) symbol
#else
#define BNN_BUILT_avx2(symbol) NULL
#define BNN_BUILT_avx512(symbol) NULL
#endif
#if defined(__aarch64__)
#define BNN_BUILT_neon(symbol) symbol
#else
#define BNN_BUILT_neon(symbol) NULL
#endif
#define BNN_BUILT_ref(symbol) symbol

static unsigned cpu_features(void) {
    unsigned mask = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        mask |= 1u;
    if (__builtin_cpu_supports("avx512vpopcntdq")) mask |= 2u;
    if (__builtin_cpu_supports("avx512vnni")) mask |= 4u;
    if (__builtin_cpu_supports("avx2")) mask |= 8u;
#elif defined(__aarch64__)
    mask |= 16u; /* part of the architecture */
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) mask |= 32u;
#endif
#endif
    return mask;
}

typedef struct table_row {
    bnn_kernel kernel;
    unsigned needs;
} table_row;

static table_row table[] = {
#define BNN_OP(op)
#define BNN_KERNEL(op, isa, needs, symbol, tile_m, tile_n)                                         \
    {{#op, #isa, BNN_APPLY(BNN_FEATURE_NAMES, needs), #symbol, BNN_OP_##op, BNN_ISA_##isa, tile_m, \
      tile_n, 0, 0, (bnn_function)BNN_BUILT_##isa(symbol)},                                        \
     BNN_APPLY(BNN_FEATURE_MASK, needs)},
#include "kernels.def"
#undef BNN_OP
#undef BNN_KERNEL
};

#define TABLE_ROWS ((int)(sizeof table / sizeof table[0]))

/* chosen[op][isa]: all ref at first, then overwritten by each better variant that can run. */
static const bnn_kernel *chosen[BNN_OP_COUNT][BNN_ISA_COUNT];

__attribute__((constructor)) static void fill_table(void) {
    const unsigned features = cpu_features();
    for (int isa = 0; isa < BNN_ISA_COUNT; isa++) {
        for (int i = 0; i < TABLE_ROWS; i++) {
            bnn_kernel *kernel = &table[i].kernel;
            kernel->compiled = kernel->function != NULL;
            kernel->supported = kernel->compiled && (table[i].needs & ~features) == 0;
            const bnn_kernel *best = chosen[kernel->op_id][isa];
            if (kernel->supported && kernel->isa_id <= isa &&
                (best == NULL || kernel->isa_id > best->isa_id))
                chosen[kernel->op_id][isa] = kernel;
        }
    }
}

int bnn_kernel_count(void) { return TABLE_ROWS; }

const bnn_kernel *bnn_kernel_at(int index) {
    return index >= 0 && index < TABLE_ROWS ? &table[index].kernel : NULL;
}

const bnn_kernel *bnn_select(int op, int isa) {
    if (op < 0 || op >= BNN_OP_COUNT || isa < 0 || isa >= BNN_ISA_COUNT) return NULL;
    return chosen[op][isa];
}

const char *bnn_op_name(int op) {
    static const char *const names[] = {
#define BNN_OP(op) #op,
#define BNN_KERNEL(op, isa, features, symbol, tile_m, tile_n)
#include "kernels.def"
#undef BNN_OP
#undef BNN_KERNEL
    };
    return op >= 0 && op < BNN_OP_COUNT ? names[op] : NULL;
}

const char *bnn_isa_name(int isa) {
    static const char *const names[] = {"ref", "neon", "avx2", "avx512"};
    return isa >= 0 && isa < BNN_ISA_COUNT ? names[isa] : NULL;
}

const char *bnn_status_text(int status) {
    static const char *const texts[] = {
#define BNN_STATUS_TEXT(name, text) text,
        BNN_STATUS_LIST(BNN_STATUS_TEXT)
#undef BNN_STATUS_TEXT
    };
    const int count = (int)(sizeof texts / sizeof texts[0]);
    return status >= 0 && status < count ? texts[status] : "a known status";
}
