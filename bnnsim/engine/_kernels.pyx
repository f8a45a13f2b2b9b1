# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Thin wrappers of the C kernels: check, allocate, release the GIL, call, raise.

Layouts and limits stand in csrc/include/bnnsim.h; signatures with types in _kernels.pyi. Inputs
must be C-contiguous numpy arrays of the stated dtype; `out`, where given, receives the result and
must not overlap an input. `isa` is "auto" (the environment variable
BNNSIM_ISA, else the best), or the name of an instruction set; an op without a kernel of that
instruction set takes the next lower one. `threads` is a number, or None for what set_threads said
last in this thread (at first 1); results do not depend on it.
"""

import os
import platform

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.string cimport memset
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t

from bnnsim.errors import KernelError, message


cdef extern from "bnnsim.h" nogil:
    enum:
        BNN_OK
        BNN_ERR_SIZE
    enum:
        BNN_ISA_COUNT
    ctypedef struct bnn_window:
        int64_t batch, height, width, kernel_h, kernel_w, stride_h, stride_w
        int64_t dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right
    ctypedef struct bnn_conv:
        bnn_window window
        int64_t channels, out_channels, groups
    ctypedef struct bnn_limits:
        const int64_t *margins
        const uint64_t *flips
        int bits
        int64_t channels, out_stride
    ctypedef struct bnn_planes:
        int x_bits, w_bits, masked
        int32_t low, step
        int64_t x_stride
        const int32_t *plus
    ctypedef struct bnn_draws:
        uint64_t seed
        uint32_t node, sample
        int64_t first
        int bits
    ctypedef void (*bnn_function)()
    ctypedef struct bnn_kernel:
        const char *op
        const char *isa
        const char *features
        const char *symbol
        int op_id, isa_id, tile_m, tile_n, compiled, supported
        bnn_function function
    ctypedef enum bnn_op:
        BNN_OP_gemm_bit, BNN_OP_conv2d_bit, BNN_OP_gemm_bit_threshold
        BNN_OP_conv2d_bit_threshold, BNN_OP_gemm_planes, BNN_OP_conv2d_planes
        BNN_OP_gemm_planes_threshold, BNN_OP_conv2d_planes_threshold, BNN_OP_gemm_int, BNN_OP_conv2d_int
        BNN_OP_gemm_int_bit, BNN_OP_conv2d_int_bit, BNN_OP_gemm_byte, BNN_OP_conv2d_byte
        BNN_OP_byte_bit, BNN_OP_byte_bit_threshold, BNN_OP_float_bit, BNN_OP_float_bit_single
        BNN_OP_float_float, BNN_OP_float_float_single
        BNN_OP_threshold_pack, BNN_OP_multi_threshold, BNN_OP_pack_sign
        BNN_OP_stochastic_pack
        BNN_OP_pack_planes, BNN_OP_unpack_planes
        BNN_OP_unpack_bit, BNN_OP_maxpool_bit, BNN_OP_maxpool_int
        BNN_OP_scale_int, BNN_OP_affine, BNN_OP_pointwise, BNN_OP_pool_float
        BNN_OP_copy_channels, BNN_OP_raw_rate
        BNN_OP_COUNT

    ctypedef struct bnn_call:
        const bnn_kernel *kernel
        const void *x
        const void *x2
        const void *weights
        const void *weights2
        const int32_t *tap_sums
        bnn_limits limits
        bnn_draws draws
        int type, out_type
        int32_t pad_value
        bnn_planes planes
        int64_t M, N, K
        bnn_conv conv
        void *out
        int64_t x_bytes, out_bytes, first
    ctypedef struct bnn_slot:
        int64_t image_bytes, offset
        int32_t rank, external
    ctypedef struct bnn_step:
        bnn_call call
        int32_t x, x2, out
    ctypedef struct bnn_program:
        const bnn_step *steps
        const bnn_slot *slots
        int64_t step_count, slot_count, arena_image_bytes, tile
    ctypedef struct bnn_batch:
        int64_t images, first_image
        char **external
        char *arenas
        int64_t arena_bytes
        uint64_t seed
        uint32_t sample

    double bnn_program_work(const bnn_program *)
    int64_t bnn_arena_bytes(const bnn_program *, int64_t)
    void bnn_program_parts(const bnn_program *, int64_t, int, int64_t *, int64_t *)
    int bnn_run_program(const bnn_program *, const bnn_batch *, int, int64_t *)
    int bnn_invoke(const bnn_call *)
    int bnn_run(const bnn_call *, int)
    int bnn_set_threads(int)
    int64_t bnn_words(int64_t K)
    const char *bnn_status_text(int status)
    int bnn_window_out(const bnn_window *, int64_t *, int64_t *)
    int bnn_conv_out(const bnn_conv *, int64_t *, int64_t *)
    int bnn_kernel_count()
    const bnn_kernel *bnn_kernel_at(int)
    const char *bnn_op_name(int)
    const char *bnn_isa_name(int)
    const bnn_kernel *bnn_select(int, int)
    int64_t bnn_panel_words(int64_t, int64_t, int64_t)
    int bnn_pack_panels(const uint64_t *, int64_t, int64_t, int64_t, uint64_t *)
    int bnn_tap_sums(const uint64_t *, int64_t, int64_t, int64_t, int32_t *)
    int64_t bnn_byte_panel_size(int64_t, int64_t, int64_t, int64_t)
    int bnn_pack_byte_panels(const int8_t *, int64_t, int64_t, int64_t, int64_t, int8_t *)
    int bnn_byte_tap_sums(const int8_t *, int64_t, int64_t, int64_t, int32_t *)
    int bnn_check_tails(const uint64_t *, int64_t, int64_t)
    int64_t bnn_plane_words(const bnn_planes *, int64_t)
    int bnn_pack_plane_weights(const int16_t *, int64_t, int64_t, int64_t, int, int, uint64_t *,
                               int32_t *, int32_t *)
    void bnn_plane_bases(const bnn_planes *, const int32_t *, int64_t, int64_t, int32_t *)
    int bnn_pack_plane_limits(const int32_t *, const int8_t *, const int32_t *, const bnn_planes *,
                              int64_t, int64_t, int, int64_t *, uint64_t *)
    int bnn_pack_limits(const int32_t *, const int8_t *, int64_t, int64_t, int64_t *, uint64_t *)

    ctypedef int bnn_gemm_int_fn(const void *, int, const int8_t *, int64_t, int64_t, int64_t,
                                 int32_t *)
    ctypedef int bnn_conv2d_int_fn(const void *, int, const int8_t *, const bnn_conv *, int32_t,
                                   int32_t *)
    ctypedef int bnn_gemm_int_bit_fn(const void *, int, const uint64_t *, int64_t, int64_t,
                                     int64_t, int32_t *)
    ctypedef int bnn_conv2d_int_bit_fn(const void *, int, const uint64_t *, const bnn_conv *,
                                       int32_t, int32_t *)
    ctypedef int bnn_threshold_pack_fn(const int32_t *, const int32_t *, const int8_t *, int64_t,
                                       int64_t, uint64_t *)
    ctypedef int bnn_multi_threshold_fn(const int32_t *, const int32_t *, const int8_t *, int64_t,
                                        int64_t, int64_t, int, int8_t *)
    ctypedef int bnn_pack_sign_fn(const void *, int, int64_t, int64_t, uint64_t *)
    ctypedef int bnn_stochastic_pack_fn(const float *, const bnn_draws *, int64_t, int64_t,
                                        uint64_t *)
    ctypedef int bnn_pack_planes_fn(const void *, int, const bnn_planes *, int64_t, int64_t,
                                    int64_t, uint64_t *)
    ctypedef int bnn_unpack_planes_fn(const uint64_t *, int, const bnn_planes *, int64_t, int64_t,
                                      int64_t, void *)
    ctypedef int bnn_unpack_bit_fn(const uint64_t *, int64_t, int64_t, int8_t *)
    ctypedef int bnn_maxpool_bit_fn(const uint64_t *, const uint64_t *, const bnn_window *,
                                    int64_t, uint64_t *)
    ctypedef int bnn_maxpool_int_fn(const void *, int, const bnn_window *, int64_t, void *)
    ctypedef int bnn_pool_float_fn(const float *, const bnn_window *, int, int64_t, float *)
    ctypedef int bnn_raw_rate_fn(double, double *)


# ---- Checks and errors ---------------------------------------------------------------------------

U64 = np.dtype(np.uint64)
I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
I8 = np.dtype(np.int8)
# Position = value of bnn_dtype.
cdef tuple DTYPES = (np.dtype(np.uint8), I8, np.dtype(np.int16), I32, np.dtype(np.float32),
                     np.dtype(np.float64))
POINTWISE = ("add", "multiply", "clip", "prelu", "ratio")  # position = value of the enum
FLOAT_POOLS = ("largest", "average", "average_padded")
cdef tuple INTEGERS = DTYPES[:4]
cdef tuple BYTES = DTYPES[:2]
cdef tuple FLOATS = DTYPES[4:]
cdef tuple SIGNABLE = (I8, I32, np.dtype(np.float32))


cdef int _check(int status, const bnn_kernel *kernel, object sizes) except -1:
    """Turn a status into an exception: the one place that does."""
    if status != BNN_OK:
        raise KernelError(message(kernel.symbol.decode(), sizes, bnn_status_text(status).decode()))
    return 0


cdef const void *_read(object array, str name, tuple dtypes, int ndim) except NULL:
    """Return the address of a checked input array; the caller keeps the array alive."""
    cdef Py_buffer view
    if not isinstance(array, np.ndarray):
        raise KernelError(message(name, type(array).__name__, "a numpy array"))
    if array.dtype not in dtypes:
        raise KernelError(message(name + ".dtype", str(array.dtype),
                                  " or ".join(str(d) for d in dtypes)))
    if array.ndim != ndim if ndim > 0 else array.ndim < 1:
        raise KernelError(message(name + ".shape", array.shape, f"{abs(ndim)} or more dimensions"
                                  if ndim < 0 else f"{ndim} dimensions"))
    if array.size == 0:
        raise KernelError(message(name + ".shape", array.shape, "no empty dimension"))
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise KernelError(message(name + ".strides", array.strides, "a C-contiguous array",
                                  "Apply np.ascontiguousarray first."))
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef const void *address = view.buf
    PyBuffer_Release(&view)
    return address


cdef void *_write(object array) except NULL:
    """Return the address of an output array that a wrapper has just allocated."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *address = view.buf
    PyBuffer_Release(&view)
    return address


cdef object _output(object out, tuple shape, object dtype):
    """Return `out` if it can hold the result, or a new array where it is None."""
    if out is None:
        return np.empty(shape, dtype)
    _read(out, "out", (dtype,), len(shape))
    _need("out.shape", out.shape, shape)
    if not out.flags.writeable:
        raise KernelError(message("out", "a read-only array", "a writeable array"))
    return out


cdef int _need(str where, object got, object expected) except -1:
    """Raise unless two sizes or shapes are equal."""
    if got != expected:
        raise KernelError(message(where, got, str(expected)))
    return 0


cdef int64_t _size(str name, object value, int64_t least) except -1:
    """Return an integer argument of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) \
            or not least <= value < 2 ** 62:
        raise KernelError(message(name, value, f"an integer from {least}"))
    return value


cdef uint64_t _unsigned(str name, object value, int bits) except? 0:
    """Return an integer argument of at most `bits` bits without a sign."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) \
            or not 0 <= value < 2 ** bits:
        raise KernelError(message(name, value, f"an integer of {bits} bits"))
    return value


cdef int32_t _int32(str name, object value) except? -1:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) \
            or not -2 ** 31 <= value < 2 ** 31:
        raise KernelError(message(name, value, "an integer that fits int32"))
    return value


cdef tuple _tuple(str name, object values, int length):
    values = tuple(values)
    if len(values) != length:
        raise KernelError(message(name, values, f"{length} integers"))
    return values


# ---- Dispatch ------------------------------------------------------------------------------------

def list_kernels():
    """Return (op, isa, features, symbol, compiled, supported) of every kernel in kernels.def."""
    rows = []
    for i in range(bnn_kernel_count()):
        k = bnn_kernel_at(i)
        rows.append((k.op.decode(), k.isa.decode(), k.features.decode(), k.symbol.decode(),
                     bool(k.compiled), bool(k.supported)))
    return rows


def select(str op, isa="auto"):
    """Return (op, isa, symbol, tile_m, tile_n) of the kernel that `op` gets for `isa`."""
    cdef const bnn_kernel *k = _choose(_op_id(op), isa)
    return k.op.decode(), k.isa.decode(), k.symbol.decode(), k.tile_m, k.tile_n


cdef int _op_id(str op) except -1:
    cdef int op_id = 0
    while op_id < BNN_OP_COUNT and bnn_op_name(op_id).decode() != op:
        op_id += 1
    if op_id == BNN_OP_COUNT:
        known = sorted({row[0] for row in list_kernels()})
        raise KernelError(message("op", op, "one of " + ", ".join(known)))
    return op_id


cdef const bnn_kernel *_choose(int op_id, object isa) except NULL:
    """Return the kernel of an op: an explicit isa wins over BNNSIM_ISA, that over the best."""
    where = "isa"
    if isa in ISA_IDS:
        return bnn_select(op_id, ISA_IDS[isa])
    if isa == "auto":
        where, isa = "BNNSIM_ISA", os.environ.get("BNNSIM_ISA") or "auto"
    if isa == "auto":
        return bnn_select(op_id, BNN_ISA_COUNT - 1)
    available = available_isas()
    if isa not in available:
        raise KernelError(f"{where}={isa!r}: {_refusal(isa)}; available: {', '.join(available)}")
    return bnn_select(op_id, _isa_names().index(isa))


def _isa_names():
    return [bnn_isa_name(i).decode() for i in range(BNN_ISA_COUNT)]


def available_isas():
    """Return the instruction sets with a kernel that can run here, lowest first."""
    supported = {row[1] for row in list_kernels() if row[5]}
    return tuple(name for name in _isa_names() if name in supported)


cdef dict ISA_IDS = {name: _isa_names().index(name) for name in available_isas()}


def _refusal(isa):
    if isa not in _isa_names():
        return "unknown instruction set"
    compiled = any(row[1] == isa and row[4] for row in list_kernels())
    if compiled:
        return "not supported by this CPU"
    return f"no kernel of it in this build, which is for {platform.machine()}"


# ---- Geometry ------------------------------------------------------------------------------------

cdef int _fill_window(bnn_window *w, tuple image, object kernel, object stride, object dilation,
                      object pads) except -1:
    """Fill a window; `image` is (batch, height, width), pads (top, left, bottom, right)."""
    kernel, stride = _tuple("kernel", kernel, 2), _tuple("stride", stride, 2)
    dilation, pads = _tuple("dilation", dilation, 2), _tuple("pads", pads, 4)
    w.batch, w.height, w.width = image
    w.kernel_h, w.kernel_w = _size("kernel", kernel[0], 1), _size("kernel", kernel[1], 1)
    w.stride_h, w.stride_w = _size("stride", stride[0], 1), _size("stride", stride[1], 1)
    w.dilation_h = _size("dilation", dilation[0], 1)
    w.dilation_w = _size("dilation", dilation[1], 1)
    w.pad_top, w.pad_left = _size("pads", pads[0], 0), _size("pads", pads[1], 0)
    w.pad_bottom, w.pad_right = _size("pads", pads[2], 0), _size("pads", pads[3], 0)
    return 0


cdef tuple _conv_shape(const bnn_kernel *kernel, const bnn_conv *conv):
    """Return the output shape (batch, OH, OW, C_out) of a convolution, or raise."""
    cdef int64_t out_h = 0, out_w = 0
    _check(bnn_conv_out(conv, &out_h, &out_w), kernel, dict(conv[0]))
    return conv.window.batch, out_h, out_w, conv.out_channels


cdef int _group_channels(bnn_conv *conv, object channels, object groups,
                         object out_channels) except -1:
    conv.channels, conv.groups = _size("channels", channels, 1), _size("groups", groups, 1)
    conv.out_channels = out_channels
    if conv.channels % conv.groups != 0 or conv.out_channels % conv.groups != 0:
        raise KernelError(message("groups", groups, f"a divisor of {channels} input channels and "
                                  f"{out_channels} output channels"))
    return 0


cdef dict _LOOKUPS = {"byte_bit": BNN_OP_byte_bit, "float_bit": BNN_OP_float_bit,
                      "float_bit_single": BNN_OP_float_bit_single}
cdef dict _FLOAT_OPS = {**_LOOKUPS, "float_float": BNN_OP_float_float,
                        "float_float_single": BNN_OP_float_float_single}

# ---- Weights, prepared once ----------------------------------------------------------------------

cdef class PackedWeights:
    """Bit or int8 weights in the order of the kernel that reads them; made once, for many calls.

    Attributes: op, isa, kernel (C symbol), shape (that of the plain weights), K (values of one dot
    product), channels, groups, nbytes (bytes held).
    """
    cdef const bnn_kernel *chosen
    cdef readonly tuple shape
    cdef readonly object K, channels, groups
    cdef object panels, tap_sums, plus
    cdef bnn_planes planes

    @property
    def op(self):
        return self.chosen.op.decode()

    @property
    def isa(self):
        return self.chosen.isa.decode()

    @property
    def kernel(self):
        return self.chosen.symbol.decode()

    @property
    def nbytes(self):
        return self.panels.nbytes + (0 if self.tap_sums is None else self.tap_sums.nbytes)


cdef class PackedThresholds:
    """One threshold per output channel in the form of the kernels that compare sums over K."""
    cdef readonly int64_t N, K, bits
    cdef readonly object grid
    cdef object margins, flips
    cdef bnn_limits limits


def pack_thresholds(t, direction, K):
    """Prepare thresholds (N,) and directions (N,) of sums over K for the *_threshold kernels."""
    cdef PackedThresholds packed = PackedThresholds.__new__(PackedThresholds)
    cdef const bnn_kernel *kernel = bnn_select(BNN_OP_gemm_bit_threshold, 0)
    cdef const int32_t *values = <const int32_t *>_read(t, "t", (I32,), 1)
    cdef const int8_t *signs = <const int8_t *>_read(direction, "direction", (I8,), 1)
    packed.N, packed.K, packed.bits = t.shape[0], _size("K", K, 1), 1
    _need("direction.shape", direction.shape, t.shape)
    packed.margins, packed.flips = _aligned((packed.N,), I64), _aligned((bnn_words(packed.N),), U64)
    packed.limits.margins = <const int64_t *>_write(packed.margins)
    packed.limits.flips = <const uint64_t *>_write(packed.flips)
    _check(bnn_pack_limits(values, signs, packed.N, packed.K, <int64_t *>packed.limits.margins,
                           <uint64_t *>packed.limits.flips), kernel, t.shape)
    return packed


cdef object _aligned(tuple shape, object dtype):
    """Return an empty array that starts on a cache line."""
    cdef int64_t count = int(np.prod(shape)) * dtype.itemsize
    block = np.empty(count + 63, np.uint8)
    cdef int64_t skip = -<int64_t><size_t>_write(block) % 64
    skip = (skip + 64) % 64
    return block[skip:skip + count].view(dtype).reshape(shape)


cdef PackedWeights _pack(const bnn_kernel *kernel, object weights, const uint64_t *plain,
                         int64_t rows, int64_t taps, int64_t channels, int64_t groups):
    """Pack each group's `rows` weights of `taps` * words(channels) words into a kernel's panels."""
    cdef PackedWeights packed = PackedWeights.__new__(PackedWeights)
    cdef int64_t words = taps * bnn_words(channels), group
    cdef int64_t per_group = bnn_panel_words(rows, words, kernel.tile_n)
    _check(BNN_ERR_SIZE if per_group < 0 else BNN_OK, kernel, weights.shape)
    _check(bnn_check_tails(plain, groups * rows * taps, channels), kernel, weights.shape)
    packed.chosen, packed.shape, packed.groups = kernel, weights.shape, groups
    packed.channels, packed.K = channels * groups, taps * channels
    packed.panels = _aligned((groups * per_group,), U64)
    cdef uint64_t *panels = <uint64_t *>_write(packed.panels)
    for group in range(groups):
        _check(bnn_pack_panels(plain + group * rows * words, rows, words, kernel.tile_n,
                               panels + group * per_group), kernel, weights.shape)
    return packed


def pack_gemm_weights(b, K, isa="auto"):
    """Prepare bit weights (N, words(K)) for gemm_bit."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_gemm_bit, isa)
    cdef const uint64_t *plain = <const uint64_t *>_read(b, "b", (U64,), 2)
    cdef int64_t length = _size("K", K, 1)
    _need("b.shape[1]", b.shape[1], bnn_words(length))
    return _pack(kernel, b, plain, b.shape[0], 1, length, 1)


def pack_conv_weights(w, channels, *, groups=1, isa="auto"):
    """Prepare bit weights (C_out, R, S, words(channels / groups)) for conv2d_bit."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_conv2d_bit, isa)
    cdef const uint64_t *plain = <const uint64_t *>_read(w, "w", (U64,), 4)
    cdef bnn_conv conv
    _group_channels(&conv, channels, groups, w.shape[0])
    cdef int64_t taps = w.shape[1] * w.shape[2], group_channels = conv.channels // conv.groups
    _need("w.shape[3]", w.shape[3], bnn_words(group_channels))
    cdef PackedWeights packed = _pack(kernel, w, plain, conv.out_channels // conv.groups, taps,
                                      group_channels, conv.groups)
    packed.tap_sums = np.empty((taps, w.shape[0]), I32)
    _check(bnn_tap_sums(plain, conv.out_channels, taps, group_channels,
                        <int32_t *>_write(packed.tap_sums)), kernel, w.shape)
    return packed


cdef PackedWeights _pack_bytes(const bnn_kernel *kernel, object weights, int64_t rows, int64_t taps,
                               int64_t channels, int64_t groups):
    """Pack each group's `rows` weights of `taps` * `channels` int8 into a kernel's panels."""
    cdef const int8_t *plain = <const int8_t *>_read(weights, "weights", (I8,), weights.ndim)
    cdef PackedWeights packed = PackedWeights.__new__(PackedWeights)
    cdef int64_t per_group = bnn_byte_panel_size(rows, taps, channels, kernel.tile_n), group
    _check(BNN_ERR_SIZE if per_group < 0 else BNN_OK, kernel, weights.shape)
    packed.chosen, packed.shape, packed.groups = kernel, weights.shape, groups
    packed.channels, packed.K = channels * groups, taps * channels
    packed.panels = _aligned((groups * per_group,), I8)
    packed.tap_sums = np.empty((taps, groups * rows), I32)
    cdef int8_t *panels = <int8_t *>_write(packed.panels)
    for group in range(groups):
        _check(bnn_pack_byte_panels(plain + group * rows * taps * channels, rows, taps, channels,
                                    kernel.tile_n, panels + group * per_group), kernel,
               weights.shape)
    _check(bnn_byte_tap_sums(plain, groups * rows, taps, channels,
                             <int32_t *>_write(packed.tap_sums)), kernel, weights.shape)
    return packed


def pack_gemm_byte_weights(b, isa="auto"):
    """Prepare int8 weights (N, K) for gemm_byte."""
    _read(b, "b", (I8,), 2)
    return _pack_bytes(_choose(BNN_OP_gemm_byte, isa), b, b.shape[0], 1, b.shape[1], 1)


def pack_conv_byte_weights(w, *, groups=1, isa="auto"):
    """Prepare int8 weights (C_out, R, S, C / groups) for conv2d_byte."""
    cdef bnn_conv conv
    _read(w, "w", (I8,), 4)
    _group_channels(&conv, _size("groups", groups, 1) * w.shape[3], groups, w.shape[0])
    return _pack_bytes(_choose(BNN_OP_conv2d_byte, isa), w, conv.out_channels // conv.groups,
                       w.shape[1] * w.shape[2], w.shape[3], conv.groups)


def pack_lookup_weights(words, shape, op, *, groups=1, isa="auto"):
    """Prepare bit weights (N, words(K)) for byte_bit, float_bit or float_bit_single (`op`).

    `shape` is that of the plain weights, (N, K) or (C_out, R, S, C / groups), K their product.
    """
    cdef const bnn_kernel *kernel = _choose(_LOOKUPS[op], isa)
    cdef const uint64_t *plain = <const uint64_t *>_read(words, "words", (U64,), 2)
    cdef bnn_conv conv
    shape = tuple(shape)
    if len(shape) not in (2, 4):
        raise KernelError(message("shape", shape, "(N, K) or (C_out, R, S, C / groups)"))
    cdef int64_t taps = shape[1] * shape[2] if len(shape) == 4 else 1, last = len(shape) - 1
    cdef int64_t K = taps * shape[last]
    _group_channels(&conv, _size("groups", groups, 1) * shape[last], groups, shape[0])
    _need("words.shape", words.shape, (shape[0], bnn_words(K)))
    cdef PackedWeights packed = _pack(kernel, words, plain, shape[0] // conv.groups, 1, K,
                                      conv.groups)
    packed.shape, packed.channels = shape, conv.channels
    return packed


def pack_float_weights(w, *, groups=1, single=False, isa="auto"):
    """Prepare float32 weights (N, K) or (C_out, R, S, C / groups) for float_linear."""
    op = "float_float_single" if single else "float_float"
    cdef const bnn_kernel *kernel = _choose(_FLOAT_OPS[op], isa)
    cdef bnn_conv conv
    cdef int64_t last = w.ndim - 1
    _read(w, "w", (DTYPES[4],), w.ndim)
    if w.ndim not in (2, 4):
        raise KernelError(message("w.shape", w.shape, "(N, K) or (C_out, R, S, C / groups)"))
    _group_channels(&conv, _size("groups", groups, 1) * w.shape[last], groups, w.shape[0])
    cdef int64_t rows = w.shape[0] // conv.groups, tile = kernel.tile_n, K = w.size // w.shape[0]
    padded = np.zeros((conv.groups, (rows + tile - 1) // tile * tile, K), w.dtype)
    padded[:, :rows] = w.reshape(conv.groups, rows, K)
    tiles = padded.reshape(conv.groups, padded.shape[1] // tile, tile, K).transpose(0, 1, 3, 2)
    cdef PackedWeights packed = PackedWeights.__new__(PackedWeights)
    packed.chosen, packed.shape, packed.groups = kernel, w.shape, groups
    packed.channels, packed.K = conv.channels, K
    packed.panels = _aligned(tiles.shape, np.dtype(np.float32 if single else np.float64))
    packed.panels[...] = tiles
    return packed


# ---- Matrix products -----------------------------------------------------------------------------

cdef int _run(bnn_call *call, object x, object out, object threads, object sizes) except -1:
    """Run a call, filled but for its buffers, on checked arrays."""
    cdef int status, count = 0 if threads is None else <int>min(_size("threads", threads, 1), 1024)
    call.x, call.out = _write(x), _write(out)
    call.x_bytes, call.out_bytes = x.nbytes // x.shape[0], out.nbytes // out.shape[0]
    if x.ndim > 3: # a row of an image, of which a row is (W, C) whatever stands before
        call.x_bytes = x.itemsize * x.shape[x.ndim - 2] * x.shape[x.ndim - 1]
        call.out_bytes = out.itemsize * out.shape[out.ndim - 2] * out.shape[out.ndim - 1]
    with nogil:
        status = bnn_run(call, count)
    return _check(status, call.kernel, sizes)


cdef bnn_call _call_on(const bnn_kernel *kernel, PackedWeights packed):
    """Return a call of a kernel on weights, all else still 0."""
    cdef bnn_call call
    memset(&call, 0, sizeof(call))
    call.kernel, call.weights = kernel, _write(packed.panels)
    if packed.tap_sums is not None:
        call.tap_sums = <const int32_t *>_write(packed.tap_sums)
    return call


def set_threads(threads):
    """Set how many threads kernels take that are called from this thread; return what it was."""
    return bnn_set_threads(<int>min(_size("threads", threads, 1), 1024))


def gemm_bit(a, b, K, *, isa="auto", threads=None, out=None):
    """Multiply bits by bits: (M, words(K)) x (N, words(K)) -> int32 (M, N)."""
    cdef PackedWeights packed = b if isinstance(b, PackedWeights) else pack_gemm_weights(b, K, isa)
    _read(a, "a", (U64,), 2)
    cdef int64_t M = a.shape[0], N = packed.shape[0], length = _size("K", K, 1)
    _need("op of the packed weights", packed.op, "gemm_bit")
    _need("K", K, packed.K)
    _need("a.shape[1]", a.shape[1], bnn_words(length))
    out = _output(out, (M, N), I32)
    cdef bnn_call call = _call_on(packed.chosen, packed)
    call.M, call.N, call.K = M, N, length
    _run(&call, a, out, threads, (a.shape, packed.shape, K))
    return out


def gemm_bit_threshold(a, b, thresholds, K, *, isa="auto", threads=None, out=None):
    """Multiply bits by bits, compare with thresholds: -> bits (M, words(N))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_gemm_bit_threshold, isa)
    cdef PackedWeights packed = b if isinstance(b, PackedWeights) else pack_gemm_weights(b, K, isa)
    _read(a, "a", (U64,), 2)
    cdef int64_t M = a.shape[0], N = packed.shape[0], length = _size("K", K, 1)
    cdef PackedThresholds limits = _thresholds(thresholds, packed, kernel)
    _need("op of the packed weights", packed.op, "gemm_bit")
    _need("K", K, packed.K)
    _need("a.shape[1]", a.shape[1], bnn_words(length))
    out = _output(out, (M, bnn_words(N)), U64)
    cdef bnn_call call = _call_on(kernel, packed)
    call.M, call.N, call.K, call.limits = M, N, length, limits.limits
    _run(&call, a, out, threads, (a.shape, packed.shape, K))
    return out


cdef PackedThresholds _thresholds(object thresholds, PackedWeights weights,
                                  const bnn_kernel *kernel, object grid=None):
    """Return packed thresholds that fit packed weights and the kernel that reads both.

    `grid` is that of planes, for which thresholds are packed otherwise.
    """
    if not isinstance(thresholds, PackedThresholds):
        raise KernelError(message("thresholds", type(thresholds).__name__, "packed thresholds",
                                  "Make them with pack_thresholds."))
    _need("thresholds.N", thresholds.N, weights.shape[0])
    _need("thresholds.K", thresholds.K, weights.K)
    _need("thresholds.grid", thresholds.grid, grid)
    _need("tile of the packed weights", weights.chosen.tile_n, kernel.tile_n)
    return thresholds


def gemm_int(a, b, *, isa="auto", out=None):
    """Multiply integers by int8: (M, K) x (N, K) -> int32 (M, N)."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_gemm_int, isa)
    cdef const void *rows = _read(a, "a", INTEGERS, 2)
    cdef const int8_t *weights = <const int8_t *>_read(b, "b", (I8,), 2)
    cdef int a_type = DTYPES.index(a.dtype)
    cdef int64_t M = a.shape[0], K = a.shape[1], N = b.shape[0]
    _need("b.shape[1]", b.shape[1], K)
    out = _output(out, (M, N), I32)
    cdef int32_t *result = <int32_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_gemm_int_fn *>kernel.function)(rows, a_type, weights, M, N, K, result)
    _check(status, kernel, (a.shape, b.shape))
    return out


def gemm_int_bit(a, b, *, isa="auto", out=None):
    """Multiply integers by bits: (M, K) x (N, words(K)) -> int32 (M, N)."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_gemm_int_bit, isa)
    cdef const void *rows = _read(a, "a", INTEGERS, 2)
    cdef const uint64_t *weights = <const uint64_t *>_read(b, "b", (U64,), 2)
    cdef int a_type = DTYPES.index(a.dtype)
    cdef int64_t M = a.shape[0], K = a.shape[1], N = b.shape[0]
    _need("b.shape[1]", b.shape[1], bnn_words(K))
    out = _output(out, (M, N), I32)
    cdef int32_t *result = <int32_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_gemm_int_bit_fn *>kernel.function)(rows, a_type, weights, M, N, K, result)
    _check(status, kernel, (a.shape, b.shape))
    return out


def gemm_byte(a, b, *, isa="auto", threads=None, out=None):
    """Multiply uint8 or int8 by int8, fast: (M, K) x (N, K) -> int32 (M, N); K up to 65793."""
    cdef PackedWeights packed = (b if isinstance(b, PackedWeights) else
                                 pack_gemm_byte_weights(b, isa))
    _read(a, "a", BYTES, 2)
    cdef int64_t M = a.shape[0], N = packed.shape[0], K = a.shape[1]
    _need("op of the packed weights", packed.op, "gemm_byte")
    _need("a.shape[1]", K, packed.K)
    out = _output(out, (M, N), I32)
    cdef bnn_call call = _call_on(packed.chosen, packed)
    call.M, call.N, call.K, call.type = M, N, K, DTYPES.index(a.dtype)
    _run(&call, a, out, threads, (a.shape, packed.shape))
    return out


# ---- Convolutions --------------------------------------------------------------------------------

def conv2d_bit(x, w, channels, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1,
               pad_value=0, isa="auto", threads=None, out=None):
    """Convolve bits with bits: (N, H, W, words(channels)) -> int32 (N, OH, OW, C_out)."""
    cdef PackedWeights packed = (w if isinstance(w, PackedWeights) else
                                 pack_conv_weights(w, channels, groups=groups, isa=isa))
    _read(x, "x", (U64,), 4)
    cdef bnn_conv conv
    _need("op of the packed weights", packed.op, "conv2d_bit")
    _need("channels", channels, packed.channels)
    _need("groups", groups, packed.groups)
    _group_channels(&conv, channels, groups, packed.shape[0])
    _need("x.shape[3]", x.shape[3], bnn_words(conv.channels))
    _fill_window(&conv.window, x.shape[:3], packed.shape[1:3], stride, dilation, pads)
    out = _output(out, _conv_shape(packed.chosen, &conv), I32)
    cdef bnn_call call = _call_on(packed.chosen, packed)
    call.conv, call.pad_value = conv, _int32("pad_value", pad_value)
    _run(&call, x, out, threads, (x.shape, packed.shape, pad_value))
    return out


def conv2d_bit_threshold(x, w, thresholds, channels, *, stride=(1, 1), dilation=(1, 1),
                         pads=(0, 0, 0, 0), groups=1, pad_value=0, isa="auto", threads=None, out=None):
    """Convolve bits with bits, compare with thresholds: -> bits (N, OH, OW, words(C_out))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_conv2d_bit_threshold, isa)
    cdef PackedWeights packed = (w if isinstance(w, PackedWeights) else
                                 pack_conv_weights(w, channels, groups=groups, isa=isa))
    _read(x, "x", (U64,), 4)
    cdef bnn_conv conv
    cdef PackedThresholds limits = _thresholds(thresholds, packed, kernel)
    _need("op of the packed weights", packed.op, "conv2d_bit")
    _need("channels", channels, packed.channels)
    _need("groups", groups, packed.groups)
    _group_channels(&conv, channels, groups, packed.shape[0])
    _need("x.shape[3]", x.shape[3], bnn_words(conv.channels))
    _fill_window(&conv.window, x.shape[:3], packed.shape[1:3], stride, dilation, pads)
    shape = _conv_shape(kernel, &conv)
    out = _output(out, (*shape[:3], bnn_words(conv.out_channels)), U64)
    cdef bnn_call call = _call_on(kernel, packed)
    call.conv, call.pad_value = conv, _int32("pad_value", pad_value)
    call.limits = limits.limits
    _run(&call, x, out, threads, (x.shape, packed.shape, pad_value))
    return out


def conv2d_int(x, w, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1, pad_value=0,
               isa="auto", out=None):
    """Convolve integers (N, H, W, C) with int8 (C_out, R, S, C / groups)."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_conv2d_int, isa)
    cdef const void *images = _read(x, "x", INTEGERS, 4)
    cdef const int8_t *weights = <const int8_t *>_read(w, "w", (I8,), 4)
    cdef bnn_conv conv
    _group_channels(&conv, x.shape[3], groups, w.shape[0])
    _need("w.shape[3]", w.shape[3], conv.channels // conv.groups)
    _fill_window(&conv.window, x.shape[:3], w.shape[1:3], stride, dilation, pads)
    out = _output(out, _conv_shape(kernel, &conv), I32)
    cdef int32_t *result = <int32_t *>_write(out)
    cdef int32_t padding = _int32("pad_value", pad_value)
    cdef int status, x_type = DTYPES.index(x.dtype)
    with nogil:
        status = (<bnn_conv2d_int_fn *>kernel.function)(images, x_type, weights, &conv, padding,
                                                        result)
    _check(status, kernel, (x.shape, w.shape))
    return out


def conv2d_int_bit(x, w, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1,
                   pad_value=0, isa="auto", out=None):
    """Convolve integers (N, H, W, C) with bits (C_out, R, S, words(C / groups))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_conv2d_int_bit, isa)
    cdef const void *images = _read(x, "x", INTEGERS, 4)
    cdef const uint64_t *weights = <const uint64_t *>_read(w, "w", (U64,), 4)
    cdef bnn_conv conv
    _group_channels(&conv, x.shape[3], groups, w.shape[0])
    _need("w.shape[3]", w.shape[3], bnn_words(conv.channels // conv.groups))
    _fill_window(&conv.window, x.shape[:3], w.shape[1:3], stride, dilation, pads)
    out = _output(out, _conv_shape(kernel, &conv), I32)
    cdef int32_t *result = <int32_t *>_write(out)
    cdef int32_t padding = _int32("pad_value", pad_value)
    cdef int status, x_type = DTYPES.index(x.dtype)
    with nogil:
        status = (<bnn_conv2d_int_bit_fn *>kernel.function)(images, x_type, weights, &conv,
                                                            padding, result)
    _check(status, kernel, (x.shape, w.shape))
    return out


def conv2d_byte(x, w, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1, pad_value=0,
                isa="auto", threads=None, out=None):
    """Convolve uint8 or int8 (N, H, W, C) with int8 (C_out, R, S, C / groups), fast."""
    cdef PackedWeights packed = (w if isinstance(w, PackedWeights) else
                                 pack_conv_byte_weights(w, groups=groups, isa=isa))
    _read(x, "x", BYTES, 4)
    cdef bnn_conv conv
    _need("op of the packed weights", packed.op, "conv2d_byte")
    _need("groups", groups, packed.groups)
    _need("x.shape[3]", x.shape[3], packed.channels)
    _group_channels(&conv, x.shape[3], groups, packed.shape[0])
    _fill_window(&conv.window, x.shape[:3], packed.shape[1:3], stride, dilation, pads)
    out = _output(out, _conv_shape(packed.chosen, &conv), I32)
    cdef bnn_call call = _call_on(packed.chosen, packed)
    call.conv, call.pad_value = conv, _int32("pad_value", pad_value)
    call.type = DTYPES.index(x.dtype)
    _run(&call, x, out, threads, (x.shape, packed.shape, pad_value))
    return out


cdef bnn_call _lookup(const bnn_kernel *kernel, object x, object w, str op, dict window):
    """Return a call on rows (M, K) or images (N, H, W, C), all but buffers and values filled."""
    if not isinstance(w, PackedWeights) or w.op != op:
        raise KernelError(message("w", getattr(w, "op", type(w).__name__), f"weights for {op}",
                                  "Make them with pack_lookup_weights."))
    cdef PackedWeights packed = w
    _need("tile of the packed weights", packed.chosen.tile_n, kernel.tile_n)
    _need("x.ndim", x.ndim, len(packed.shape))
    cdef int64_t last = x.ndim - 1
    _need(f"x.shape[{last}]", x.shape[last], packed.channels)
    cdef bnn_call call = _call_on(kernel, packed)
    _group_channels(&call.conv, packed.channels, packed.groups, packed.shape[0])
    size, taps = (x.shape[:3], packed.shape[1:3]) if last == 3 else ((x.shape[0], 1, 1), (1, 1))
    _fill_window(&call.conv.window, size, taps, window.get("stride", (1, 1)),
                 window.get("dilation", (1, 1)), window.get("pads", (0, 0, 0, 0)))
    _need("groups", window.get("groups", packed.groups), packed.groups)
    call.pad_value = _int32("pad_value", window.get("pad_value", 0))
    return call


def byte_bit(x, map, w, thresholds=None, *, isa="auto", threads=None, out=None, **window):
    """Multiply bytes, each standing for an integer of `map` (256,), by bits.

    (M, K) -> int32 (M, N), or (N, H, W, C) -> int32 (N, OH, OW, C_out); with thresholds, bits.
    `window` (stride, dilation, pads, groups, pad_value) is for images.
    """
    cdef const bnn_kernel *kernel = _choose(
        BNN_OP_byte_bit if thresholds is None else BNN_OP_byte_bit_threshold, isa)
    cdef PackedThresholds limits
    _read(x, "x", BYTES, x.ndim)
    cdef bnn_call call = _lookup(kernel, x, w, "byte_bit", window)
    call.weights2 = _read(map, "map", (DTYPES[2],), 1)
    _need("map.shape", map.shape, (256,))
    shape = _conv_shape(kernel, &call.conv)
    if thresholds is not None:
        limits = _thresholds(thresholds, w, kernel)
        call.limits = limits.limits
        shape = (*shape[:3], bnn_words(call.conv.out_channels))
    out = _output(out, shape if x.ndim == 4 else (shape[0], shape[3]),
                  I32 if thresholds is None else U64)
    _run(&call, x, out, threads, (x.shape, w.shape))
    return out


def float_linear(x, w, *, dtype=DTYPES[4], isa="auto", threads=None, out=None, **window):
    """Multiply float32 by packed bits or floats -> float64 sums, or float32 ones, rounded once.

    (M, K) -> (M, N), or (N, H, W, C) -> (N, OH, OW, C_out), with `window` as for byte_bit. Sums are
    formed in float64, unless the weights were packed for a `single` op.
    """
    op = getattr(w, "op", type(w).__name__)
    if op not in _FLOAT_OPS or op == "byte_bit":
        raise KernelError(message("w", op, "weights of a product of floats",
                                  "Make them with pack_lookup_weights or pack_float_weights."))
    cdef const bnn_kernel *kernel = _choose(_FLOAT_OPS[op], isa)
    _read(x, "x", (DTYPES[4],), x.ndim)
    cdef bnn_call call = _lookup(kernel, x, w, op, window)
    shape, dtype = _conv_shape(kernel, &call.conv), np.dtype(dtype)
    if dtype not in FLOATS:
        raise KernelError(message("dtype", str(dtype), "float32 or float64"))
    call.out_type = DTYPES.index(dtype)
    out = _output(out, shape if x.ndim == 4 else (shape[0], shape[3]), dtype)
    _run(&call, x, out, threads, (x.shape, w.shape))
    return out


# ---- Thresholds and packing ----------------------------------------------------------------------

def threshold_pack(acc, t, direction, *, isa="auto", out=None):
    """Compare int32 (..., C) with one threshold per channel -> bits (..., words(C))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_threshold_pack, isa)
    cdef const int32_t *sums = <const int32_t *>_read(acc, "acc", (I32,), -1)
    cdef const int32_t *limits = <const int32_t *>_read(t, "t", (I32,), 1)
    cdef const int8_t *signs = <const int8_t *>_read(direction, "direction", (I8,), 1)
    cdef int64_t C = acc.shape[acc.ndim - 1], P = acc.size // C
    _need("t.shape", t.shape, (C,))
    _need("direction.shape", direction.shape, (C,))
    out = _output(out, acc.shape[:acc.ndim - 1] + (bnn_words(C),), U64)
    cdef uint64_t *result = <uint64_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_threshold_pack_fn *>kernel.function)(sums, limits, signs, P, C, result)
    _check(status, kernel, acc.shape)
    return out


def multi_threshold(acc, t, direction, base=0, *, isa="auto", out=None):
    """Count the met thresholds (C, n) of int32 (..., C) -> int8 level base + count."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_multi_threshold, isa)
    cdef const int32_t *sums = <const int32_t *>_read(acc, "acc", (I32,), -1)
    cdef const int32_t *limits = <const int32_t *>_read(t, "t", (I32,), 2)
    cdef const int8_t *signs = <const int8_t *>_read(direction, "direction", (I8,), 1)
    cdef int64_t C = acc.shape[acc.ndim - 1], P = acc.size // C, n = t.shape[1]
    _need("t.shape[0]", t.shape[0], C)
    _need("direction.shape", direction.shape, (C,))
    out = _output(out, acc.shape, I8)
    cdef int8_t *result = <int8_t *>_write(out)
    cdef int status, lowest = _int32("base", base)
    with nogil:
        status = (<bnn_multi_threshold_fn *>kernel.function)(sums, limits, signs, P, C, n, lowest,
                                                             result)
    _check(status, kernel, (acc.shape, t.shape, base))
    return out


def pack_sign(x, *, isa="auto", out=None):
    """Pack x >= 0 of int8, int32 or float32 (..., C) -> bits (..., words(C))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_pack_sign, isa)
    cdef const void *values = _read(x, "x", SIGNABLE, -1)
    cdef int64_t C = x.shape[x.ndim - 1], P = x.size // C
    out = _output(out, x.shape[:x.ndim - 1] + (bnn_words(C),), U64)
    cdef uint64_t *result = <uint64_t *>_write(out)
    cdef int status, x_type = DTYPES.index(x.dtype)
    with nogil:
        status = (<bnn_pack_sign_fn *>kernel.function)(values, x_type, P, C, result)
    _check(status, kernel, x.shape)
    return out


def stochastic_pack(x, bits, *, seed, node, sample=0, first=0, isa="auto", out=None):
    """Draw +1 with a hard sigmoid's probability: float32 (..., C) -> bits (..., words(C))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_stochastic_pack, isa)
    cdef const float *values = <const float *>_read(x, "x", (DTYPES[4],), -1)
    cdef int64_t C = x.shape[x.ndim - 1], P = x.size // C
    cdef bnn_draws draws
    draws.seed, draws.node = _unsigned("seed", seed, 64), <uint32_t>_unsigned("node", node, 32)
    draws.sample = <uint32_t>_unsigned("sample", sample, 32)
    draws.first, draws.bits = _size("first", first, 0), _int32("bits", bits)
    out = _output(out, x.shape[:x.ndim - 1] + (bnn_words(C),), U64)
    cdef uint64_t *result = <uint64_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_stochastic_pack_fn *>kernel.function)(values, &draws, P, C, result)
    _check(status, kernel, {"shape": x.shape, "bits": bits, "first": first})
    return out


def unpack_bit(words, C, *, isa="auto", out=None):
    """Unpack bits (..., words(C)) -> int8 (..., C) in {-1, +1}."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_unpack_bit, isa)
    cdef const uint64_t *bits = <const uint64_t *>_read(words, "words", (U64,), -1)
    cdef int64_t count = _size("C", C, 1), per_row = bnn_words(count), P = words.size // per_row
    _need("words.shape[-1]", words.shape[words.ndim - 1], per_row)
    out = _output(out, words.shape[:words.ndim - 1] + (count,), I8)
    cdef int8_t *result = <int8_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_unpack_bit_fn *>kernel.function)(bits, P, count, result)
    _check(status, kernel, (words.shape, C))
    return out


# ---- Pooling -------------------------------------------------------------------------------------

def maxpool_bit(x, use_and, *, window, stride, pads=(0, 0, 0, 0), isa="auto", out=None):
    """Pool bits (N, H, W, words): OR, or AND in the channels whose bit of use_and (words,) is 1."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_maxpool_bit, isa)
    cdef const uint64_t *images = <const uint64_t *>_read(x, "x", (U64,), 4)
    cdef const uint64_t *ands = <const uint64_t *>_read(use_and, "use_and", (U64,), 1)
    cdef bnn_window geometry
    cdef int64_t out_h = 0, out_w = 0, words = x.shape[3]
    _need("use_and.shape", use_and.shape, (words,))
    _fill_window(&geometry, x.shape[:3], window, stride, (1, 1), pads)
    _check(bnn_window_out(&geometry, &out_h, &out_w), kernel, dict(geometry))
    out = _output(out, (x.shape[0], out_h, out_w, words), U64)
    cdef uint64_t *result = <uint64_t *>_write(out)
    cdef int status
    with nogil:
        status = (<bnn_maxpool_bit_fn *>kernel.function)(images, ands, &geometry, words, result)
    _check(status, kernel, (x.shape, window, stride, pads))
    return out


def maxpool_int(x, *, window, stride, pads=(0, 0, 0, 0), isa="auto", out=None):
    """Pool integers (N, H, W, C): the largest in-image value, in the dtype of x."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_maxpool_int, isa)
    cdef const void *images = _read(x, "x", INTEGERS, 4)
    cdef bnn_window geometry
    cdef int64_t out_h = 0, out_w = 0, C = x.shape[3]
    _fill_window(&geometry, x.shape[:3], window, stride, (1, 1), pads)
    _check(bnn_window_out(&geometry, &out_h, &out_w), kernel, dict(geometry))
    out = _output(out, (x.shape[0], out_h, out_w, C), x.dtype)
    cdef void *result = _write(out)
    cdef int status, x_type = DTYPES.index(x.dtype)
    with nogil:
        status = (<bnn_maxpool_int_fn *>kernel.function)(images, x_type, &geometry, C, result)
    _check(status, kernel, (x.shape, window, stride, pads))
    return out


def pool_float(str how, x, *, window, stride, pads=(0, 0, 0, 0), isa="auto", out=None):
    """Pool float32 (N, H, W, C) in one of the ways of FLOAT_POOLS."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_pool_float, isa)
    cdef const float *images = <const float *>_read(x, "x", (DTYPES[4],), 4)
    cdef bnn_window geometry
    cdef int64_t out_h = 0, out_w = 0, C = x.shape[3]
    if how not in FLOAT_POOLS:
        raise KernelError(message("how", how, " or ".join(FLOAT_POOLS)))
    _fill_window(&geometry, x.shape[:3], window, stride, (1, 1), pads)
    _check(bnn_window_out(&geometry, &out_h, &out_w), kernel, dict(geometry))
    out = _output(out, (x.shape[0], out_h, out_w, C), DTYPES[4])
    cdef float *result = <float *>_write(out)
    cdef int status, way = FLOAT_POOLS.index(how)
    with nogil:
        status = (<bnn_pool_float_fn *>kernel.function)(images, &geometry, way, C, result)
    _check(status, kernel, (x.shape, window, stride, pads))
    return out


def copy_channels(x, out, first, *, isa="auto"):
    """Write x (..., C) into the channels of `out`, an array of the same dtype, from `first` on."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_copy_channels, isa)
    cdef bnn_call call
    memset(&call, 0, sizeof(call))
    call.kernel, call.x = kernel, _read(x, "x", DTYPES, -1)
    _need("out.shape[:-1]", out.shape[:-1], x.shape[:-1])
    out = _output(out, out.shape, x.dtype)
    call.N, call.K = x.shape[x.ndim - 1] * x.itemsize, out.shape[x.ndim - 1] * x.itemsize
    call.M, call.pad_value = x.nbytes // call.N, _int32("first", first * x.itemsize)
    call.out = _write(out)
    cdef int status
    with nogil:
        status = bnn_invoke(&call)
    _check(status, kernel, (x.shape, out.shape, first))
    return out


def scale_int(x, mul, offset, *, first=0, dtype=I32, isa="auto", out=None):
    """Scale integers (..., C): mul * x + offset (period, C), row p + `first` taking row p % period."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_scale_int, isa)
    cdef bnn_call call
    memset(&call, 0, sizeof(call))
    call.kernel, call.x = kernel, _read(x, "x", INTEGERS, -1)
    call.weights = _read(offset, "offset", (I32,), 2)
    call.N, call.K = x.shape[x.ndim - 1], offset.shape[0]
    call.M, call.pad_value = x.size // call.N, _int32("mul", mul)
    call.first = _size("first", first, 0)
    _need("offset.shape[1]", offset.shape[1], call.N)
    dtype = np.dtype(dtype)
    if dtype not in INTEGERS:
        raise KernelError(message("dtype", str(dtype), " or ".join(str(d) for d in INTEGERS)))
    call.type, call.out_type = DTYPES.index(x.dtype), DTYPES.index(dtype)
    out = _output(out, x.shape, dtype)
    call.out = _write(out)
    cdef int status
    with nogil:
        status = bnn_invoke(&call)
    _check(status, kernel, (x.shape, mul))
    return out


def affine(x, *, shift=None, scale=None, bias=None, isa="auto", out=None):
    """Turn (..., C) into float32: (x - shift) * scale + bias of (C,) each, leaving out the None."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_affine, isa)
    cdef bnn_call call
    memset(&call, 0, sizeof(call))
    call.kernel, call.x = kernel, _read(x, "x", DTYPES, -1)
    call.N = x.shape[x.ndim - 1]
    call.M, call.type = x.size // call.N, DTYPES.index(x.dtype)
    terms, call.pad_value = affine_terms(call.N, shift, scale, bias)
    call.weights = _write(terms)
    out = _output(out, x.shape, DTYPES[4])
    call.out = _write(out)
    cdef int status
    with nogil:
        status = bnn_invoke(&call)
    _check(status, kernel, x.shape)
    return out


def pointwise(str what, x, x2=None, *, terms=None, isa="auto", out=None):
    """Apply one of POINTWISE to int32 or float32 (..., C); `out` may be an input."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_pointwise, isa)
    cdef bnn_call call
    memset(&call, 0, sizeof(call))
    call.kernel, call.x = kernel, _read(x, "x", (I32, DTYPES[4]), -1)
    if what not in POINTWISE:
        raise KernelError(message("what", what, " or ".join(POINTWISE)))
    call.pad_value, call.type = POINTWISE.index(what), DTYPES.index(x.dtype)
    call.N = x.shape[x.ndim - 1]
    call.M = x.size // call.N
    if what in ("add", "multiply"):
        call.x2 = _read(x2, "x2", (x.dtype,), -1)
        _need("x2.shape", x2.shape, x.shape)
    else:
        call.weights = _read(terms, "terms", (x.dtype,), 1)
        _need("terms.shape", terms.shape, ({"clip": 2, "ratio": 3}.get(what, call.N),))
    out = _output(out, x.shape, x.dtype)
    call.out = _write(out)
    cdef int status
    with nogil:
        status = bnn_invoke(&call)
    _check(status, kernel, (what, x.shape, str(x.dtype)))
    return out


def affine_terms(channels, shift, scale, bias):
    """Return the terms (3, channels) of affine, and the bits that say which are there."""
    terms, which = np.zeros((3, channels), np.float32), 0
    for i, (name, term) in enumerate((("shift", shift), ("scale", scale), ("bias", bias))):
        if term is not None:
            _read(term, name, (DTYPES[4],), 1)
            _need(name + ".shape", term.shape, (channels,))
            terms[i] = term
            which |= 1 << i
    return terms, which


# ---- Planes -----------------------------------------------------------------------------------

include "_planes.pxi"


# ---- Planned calls --------------------------------------------------------------------------------

include "_program.pxi"


# ---- The ceiling ---------------------------------------------------------------------------------

def raw_xor_popcount_rate(double seconds, *, isa="auto"):
    """Time xor + popcount + add on registers alone -> binary multiply-accumulates per second."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_raw_rate, isa)
    cdef double rate = 0.0
    cdef int status
    with nogil:
        status = (<bnn_raw_rate_fn *>kernel.function)(seconds, &rate)
    _check(status, kernel, seconds)
    return rate
