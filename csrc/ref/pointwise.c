/* Element by element, and windows over floats, with what every CPU of the architecture has. */
#include <string.h>

#define KERNEL(op) bnn_##op##_ref
#include "../float_pools.inc"
#include "../pointwise.inc"

int bnn_copy_channels_ref(const void *x, int64_t P, int64_t row, int64_t out_row, int64_t first,
                          void *out) {
    BNN_TRY(bnn_check_size(P, row, 1, 1));
    BNN_TRY(bnn_check_size(P, out_row, 1, 1));
    if (first < 0 || first > out_row - row) return BNN_ERR_VALUE;
    for (int64_t p = 0; p < P; p++)
        memcpy((char *)out + p * out_row + first, (const char *)x + p * row, (size_t)row);
    return BNN_OK;
}
