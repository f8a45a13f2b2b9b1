# Products of bit planes. Included by _kernels.pyx.
#
# Activations are (images, bits, ..., words(channels)), plane i holding bit i of u in low + step * u;
# `grid` is (bits, low, step).

cdef tuple GRID_TYPES = DTYPES[:3]


cdef int _fill_grid(bnn_planes *planes, object grid) except -1:
    bits, low, step = _tuple("grid", grid, 3)
    planes.x_bits, planes.low = _int32("grid bits", bits), _int32("grid low", low)
    planes.step = _int32("grid step", step)
    if not 1 <= planes.x_bits <= 8 or not 1 <= planes.step <= 2:
        raise KernelError(message("grid", tuple(grid), "1 to 8 bits, a low and a step of 1 or 2"))
    return 0


def pack_planes(x, grid, *, isa="auto", out=None):
    """Pack integers (N, ..., C) on a grid -> planes (N, bits, ..., words(C))."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_pack_planes, isa)
    cdef const void *values = _read(x, "x", GRID_TYPES, -2)
    cdef bnn_planes planes
    _fill_grid(&planes, grid)
    cdef int64_t images = x.shape[0], C = x.shape[x.ndim - 1], P = x.size // images // C
    shape = (images, planes.x_bits, *x.shape[1:-1], bnn_words(C))
    out = _output(out, shape, U64)
    cdef uint64_t *result = <uint64_t *>_write(out)
    cdef int status, x_type = DTYPES.index(x.dtype)
    with nogil:
        status = (<bnn_pack_planes_fn *>kernel.function)(values, x_type, &planes, images, P, C,
                                                         result)
    _check(status, kernel, (x.shape, tuple(grid)))
    return out


def unpack_planes(x, C, grid, dtype, *, isa="auto", out=None):
    """Unpack planes (N, bits, ..., words(C)) -> integers (N, ..., C) of a type."""
    cdef const bnn_kernel *kernel = _choose(BNN_OP_unpack_planes, isa)
    cdef const uint64_t *words = <const uint64_t *>_read(x, "x", (U64,), -3)
    cdef bnn_planes planes
    _fill_grid(&planes, grid)
    cdef int64_t count = _size("C", C, 1), images = x.shape[0]
    cdef int64_t P = x.size // images // planes.x_bits // bnn_words(count)
    _need("x.shape[1]", x.shape[1], planes.x_bits)
    _need("x.shape[-1]", x.shape[x.ndim - 1], bnn_words(count))
    if np.dtype(dtype) not in GRID_TYPES:
        raise KernelError(message("dtype", str(dtype), "uint8, int8 or int16"))
    out = _output(out, (images, *x.shape[2:-1], count), np.dtype(dtype))
    cdef void *result = _write(out)
    cdef int status, x_type = DTYPES.index(np.dtype(dtype))
    with nogil:
        status = (<bnn_unpack_planes_fn *>kernel.function)(words, x_type, &planes, images, P,
                                                           count, result)
    _check(status, kernel, (x.shape, tuple(grid)))
    return out


cdef PackedWeights _pack_plane_weights(const bnn_kernel *kernel, object w, int64_t groups):
    """Split weights (N, [R, S,] channels) into as few planes as they need, in a kernel's panels."""
    cdef PackedWeights packed = PackedWeights.__new__(PackedWeights)
    cdef int64_t N = w.shape[0], channels = w.shape[w.ndim - 1], group
    cdef int64_t taps = w.size // N // channels
    cdef bnn_planes *planes = &packed.planes
    largest = max(1, int(w.max()), -int(w.min()))
    if largest > 255:
        raise KernelError(message("weights", largest, "integers from -255 to 255"))
    planes.w_bits, planes.masked = largest.bit_length(), bool((w % 2 == 0).any())
    cdef int64_t words = bnn_plane_words(planes, taps * bnn_words(channels))
    cdef int64_t per_group = bnn_panel_words(N // groups, words, kernel.tile_n)
    _check(BNN_ERR_SIZE if per_group < 0 else BNN_OK, kernel, w.shape)
    wide = np.ascontiguousarray(w, np.int16)
    rows = np.empty((N, words), U64)
    packed.chosen, packed.shape, packed.groups = kernel, w.shape, groups
    packed.channels, packed.K = channels * groups, taps * channels
    packed.panels = _aligned((groups * per_group,), U64)
    packed.tap_sums, packed.plus = np.empty((taps, N), I32), np.empty(N, I32)
    planes.plus = <const int32_t *>_write(packed.plus)
    cdef const uint64_t *plain = <const uint64_t *>_write(rows)
    cdef uint64_t *panels = <uint64_t *>_write(packed.panels)
    _check(bnn_pack_plane_weights(<const int16_t *>_write(wide), N, taps, channels, planes.w_bits,
                                  planes.masked, <uint64_t *>plain,
                                  <int32_t *>_write(packed.tap_sums),
                                  <int32_t *>planes.plus), kernel, w.shape)
    for group in range(groups):
        _check(bnn_pack_panels(plain + group * (N // groups) * words, N // groups, words,
                               kernel.tile_n, panels + group * per_group), kernel, w.shape)
    return packed


def pack_gemm_plane_weights(b, isa="auto"):
    """Prepare int8 or int16 weights (N, K) from -255 to 255 for gemm_planes."""
    _read(b, "b", WEIGHT_TYPES, 2)
    return _pack_plane_weights(_choose(BNN_OP_gemm_planes, isa), b, 1)


def pack_conv_plane_weights(w, *, groups=1, isa="auto"):
    """Prepare int8 or int16 weights (C_out, R, S, C / groups) for conv2d_planes."""
    cdef bnn_conv conv
    _read(w, "w", WEIGHT_TYPES, 4)
    _group_channels(&conv, _size("groups", groups, 1) * w.shape[3], groups, w.shape[0])
    return _pack_plane_weights(_choose(BNN_OP_conv2d_planes, isa), w, conv.groups)


cdef tuple WEIGHT_TYPES = (I8, np.dtype(np.int16))


def pack_plane_thresholds(t, direction, PackedWeights weights, grid, bits):
    """Prepare thresholds (N, n) of products of planes, whose level 0 to n takes `bits` planes."""
    cdef PackedThresholds packed = PackedThresholds.__new__(PackedThresholds)
    cdef const int32_t *values = <const int32_t *>_read(t, "t", (I32,), 2)
    cdef const int8_t *signs = <const int8_t *>_read(direction, "direction", (I8,), 1)
    cdef bnn_planes planes = weights.planes
    cdef int64_t N = t.shape[0], taps = weights.tap_sums.shape[0]
    _fill_grid(&planes, grid)
    _need("t.shape[0]", N, weights.shape[0])
    _need("direction.shape", direction.shape, (N,))
    if not 1 <= bits <= 8 or t.shape[1] > 2 ** bits - 1:
        raise KernelError(message("thresholds", t.shape[1], f"at most {2 ** bits - 1} per channel",
                                  "That is what the levels' bits hold."))
    bases, packed.grid = np.empty(N, I32), tuple(grid)
    packed.N, packed.K, packed.bits = N, weights.K, bits
    packed.margins = _aligned((2 ** bits - 1, N), I64)
    packed.flips = _aligned((bnn_words(N),), U64)
    packed.limits.margins = <const int64_t *>_write(packed.margins)
    packed.limits.flips = <const uint64_t *>_write(packed.flips)
    packed.limits.bits, packed.limits.channels = bits, N
    bnn_plane_bases(&planes, <const int32_t *>_write(weights.tap_sums), N, taps,
                    <int32_t *>_write(bases))
    _check(bnn_pack_plane_limits(values, signs, <const int32_t *>_write(bases), &planes, N,
                                 t.shape[1], bits, <int64_t *>packed.limits.margins,
                                 <uint64_t *>packed.limits.flips), weights.chosen, t.shape)
    return packed


cdef bnn_planes _operand_planes(object x, PackedWeights packed, object grid, int64_t x_stride):
    """Return what a product of planes reads, x being (images, bits, ..., words)."""
    cdef bnn_planes planes = packed.planes
    _fill_grid(&planes, grid)
    _need("x.shape[1]", x.shape[1], planes.x_bits)
    planes.x_stride = x_stride
    return planes


cdef bnn_limits _plane_limits(object thresholds, PackedWeights packed, const bnn_kernel *kernel,
                              object grid, int64_t out_stride):
    cdef PackedThresholds chosen = _thresholds(thresholds, packed, kernel, tuple(grid))
    cdef bnn_limits limits = chosen.limits
    limits.out_stride = out_stride
    return limits


def gemm_planes(x, b, grid, *, thresholds=None, isa="auto", threads=None, out=None):
    """Multiply planes (M, bits, words(K)) by packed weights -> int32 (M, N), or with thresholds
    from pack_plane_thresholds planes of levels (M, their bits, words(N))."""
    cdef PackedWeights packed = (b if isinstance(b, PackedWeights) else
                                 pack_gemm_plane_weights(b, isa))
    cdef const bnn_kernel *kernel = packed.chosen
    _read(x, "x", (U64,), 3)
    cdef int64_t N = packed.shape[0], words = bnn_words(packed.K)
    _need("op of the packed weights", packed.op, "gemm_planes")
    _need("x.shape[2]", x.shape[2], words)
    cdef bnn_call call = _call_on(kernel, packed)
    call.planes = _operand_planes(x, packed, grid, words)
    call.M, call.N, call.K = x.shape[0], N, packed.K
    if thresholds is None:
        out = _output(out, (x.shape[0], N), I32)
    else:
        call.kernel = kernel = bnn_select(BNN_OP_gemm_planes_threshold, kernel.isa_id)
        call.limits = _plane_limits(thresholds, packed, kernel, grid, bnn_words(N))
        out = _output(out, (x.shape[0], call.limits.bits, bnn_words(N)), U64)
    _run(&call, x, out, threads, (x.shape, packed.shape, tuple(grid)))
    return out


def conv2d_planes(x, w, grid, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1,
                  pad_value=0, thresholds=None, isa="auto", threads=None, out=None):
    """Convolve planes (N, bits, H, W, words(C)) -> int32 (N, OH, OW, C_out), or with thresholds
    planes of levels (N, their bits, OH, OW, words(C_out))."""
    cdef PackedWeights packed = (w if isinstance(w, PackedWeights) else
                                 pack_conv_plane_weights(w, groups=groups, isa=isa))
    cdef const bnn_kernel *kernel = packed.chosen
    cdef bnn_conv conv
    _read(x, "x", (U64,), 5)
    _need("op of the packed weights", packed.op, "conv2d_planes")
    _need("groups", groups, packed.groups)
    _group_channels(&conv, packed.channels, groups, packed.shape[0])
    cdef int64_t words = bnn_words(conv.channels), out_words = bnn_words(conv.out_channels)
    _need("x.shape[4]", x.shape[4], words)
    _fill_window(&conv.window, (x.shape[0], *x.shape[2:4]), packed.shape[1:3], stride, dilation,
                 pads)
    shape = _conv_shape(kernel, &conv)
    cdef bnn_call call = _call_on(kernel, packed)
    call.planes = _operand_planes(x, packed, grid, x.shape[2] * x.shape[3] * words)
    call.conv, call.pad_value = conv, _int32("pad_value", pad_value)
    if thresholds is None:
        out = _output(out, shape, I32)
    else:
        call.kernel = kernel = bnn_select(BNN_OP_conv2d_planes_threshold, kernel.isa_id)
        call.limits = _plane_limits(thresholds, packed, kernel, grid,
                                    shape[1] * shape[2] * out_words)
        out = _output(out, (shape[0], call.limits.bits, shape[1], shape[2], out_words), U64)
    _run(&call, x, out, threads, (x.shape, packed.shape, tuple(grid), pad_value))
    return out
