# Calls planned ahead, and programs of them. Included by _kernels.pyx.

cdef class Call:
    """A kernel's call on one image, all but its buffers.

    A part of the fields of bnn_call (csrc/include/bnnsim.h); csrc/calls.c says which are the
    arguments of an op. `weights` are packed, or arrays as the kernel reads them. `window` holds
    image (H, W), kernel, and where they are not 1, 1 and 0: stride, dilation, pads; of a convolution
    also channels, out_channels and groups. `grid` is that of planes, (bits, low, step). Sizes must be those of the buffers that a program gives.
    """
    cdef bnn_call call
    cdef tuple held

    def __init__(self, str op, isa="auto", *, weights=None, weights2=None, limits=None, M=0, N=0,
                 K=0, window=None, dtype=None, out_dtype=None, pad_value=0, node=0, bits=0, grid=None):
        memset(&self.call, 0, sizeof(self.call))
        self.call.kernel = _choose(_op_id(op), isa)
        self.call.M, self.call.N, self.call.K = M, N, K
        self.call.pad_value = _int32("pad_value", pad_value)
        self.call.draws.node, self.call.draws.bits = <uint32_t>_unsigned("node", node, 32), bits
        if dtype is not None:
            self.call.type = DTYPES.index(dtype)
        if out_dtype is not None:
            self.call.out_type = DTYPES.index(out_dtype)
        if window is not None:
            self._take_window(**window)
        if grid is not None:
            _fill_grid(&self.call.planes, grid)
        self._take_weights(weights, weights2, limits)
        if self.call.planes.plus != NULL:
            self._take_strides()

    def _take_window(self, *, image, kernel, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0),
                     channels=0, out_channels=0, groups=0):
        cdef bnn_conv *conv = &self.call.conv
        _fill_window(&conv.window, (1, *image), kernel, stride, dilation, pads)
        conv.channels, conv.out_channels, conv.groups = channels, out_channels, groups

    def _take_weights(self, weights, weights2, limits):
        self.held = (weights, weights2, limits)
        if isinstance(weights, PackedWeights):
            self._take_packed(weights)
        elif weights is not None:
            self.call.weights = _constant(weights)
        if weights2 is not None:
            self.call.weights2 = _constant(weights2)
        if limits is not None:
            self.call.limits = (<PackedThresholds>limits).limits

    cdef _take_packed(self, PackedWeights packed):
        _need("tile of the packed weights", packed.chosen.tile_n, self.call.kernel.tile_n)
        self.call.weights = _write(packed.panels)
        if packed.tap_sums is not None:
            self.call.tap_sums = <const int32_t *>_write(packed.tap_sums)
        if packed.plus is not None:
            self.call.planes.w_bits, self.call.planes.masked = packed.planes.w_bits, packed.planes.masked
            self.call.planes.plus = packed.planes.plus

    cdef _take_strides(self):
        cdef int64_t pixels = 1, out_pixels = 1, out_h = 0, out_w = 0
        cdef int64_t channels = self.call.K, out_channels = self.call.N
        cdef bnn_conv *conv = &self.call.conv
        if conv.groups > 0:
            _check(bnn_conv_out(conv, &out_h, &out_w), self.call.kernel, dict(conv[0]))
            pixels, out_pixels = conv.window.height * conv.window.width, out_h * out_w
            channels, out_channels = conv.channels, conv.out_channels
        self.call.planes.x_stride = pixels * bnn_words(channels)
        self.call.limits.out_stride = out_pixels * bnn_words(out_channels)

    @property
    def kernel(self):
        """The C symbol of the kernel."""
        return self.call.kernel.symbol.decode()

    @property
    def in_place(self):
        """Whether what it writes may lie where it reads elements of the same size."""
        return self.call.kernel.op_id in (BNN_OP_affine, BNN_OP_pointwise)

    @property
    def rows(self):
        """Rows of one image, 0 where the op has a window."""
        return self.call.M

    @property
    def channels(self):
        """Elements of a row of the input or, of a product, of the output."""
        return self.call.N


cdef const void *_constant(object array) except NULL:
    if not array.flags.c_contiguous:
        raise KernelError(message("weights", array.strides, "a C-contiguous array"))
    return _write(array)


cdef void *_sized(object array, int64_t nbytes) except NULL:
    """Return the address of an array that must have so many bytes."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef int64_t found = view.len
    cdef void *address = view.buf
    PyBuffer_Release(&view)
    if found != nbytes:
        raise KernelError(message("buffer of a program", found, f"{nbytes} bytes"))
    return address


cdef class Program:
    """Calls in order, run by one C call on a batch.

    Parameters: steps, tuples (call, slots of its inputs, slot of out); slots, tuples (bytes of an image, its
    offset in the arena of one image or None where the caller gives the buffer, its rank in the
    arena); the arena's bytes of one image; and how many images at most a
    thread takes at a time. The caller's buffers are numbered in the order of their slots.
    """
    cdef bnn_program program
    cdef bnn_step *steps
    cdef bnn_slot *slots
    cdef tuple calls
    cdef int64_t *image_bytes
    cdef readonly int64_t externals

    def __init__(self, steps, slots, int64_t arena_image_bytes, int64_t tile):
        self.steps = <bnn_step *>PyMem_Calloc(max(len(steps), 1), sizeof(bnn_step))
        self.slots = <bnn_slot *>PyMem_Calloc(max(len(slots), 1), sizeof(bnn_slot))
        self.image_bytes = <int64_t *>PyMem_Calloc(max(len(slots), 1), sizeof(int64_t))
        if self.steps == NULL or self.slots == NULL or self.image_bytes == NULL:
            raise MemoryError
        self.calls = tuple(call for call, *_ in steps)
        for i, (size, offset, rank) in enumerate(slots):
            self.slots[i].image_bytes = size
            self.slots[i].external = -1 if offset is not None else <int32_t>self.externals
            self.slots[i].offset, self.slots[i].rank = offset or 0, rank
            if offset is None:
                self.image_bytes[self.externals] = size
                self.externals += 1
        for i, (call, x, out) in enumerate(steps):
            self._fill_step(&self.steps[i], call, x, out)
        self.program.steps, self.program.slots = self.steps, self.slots
        self.program.step_count, self.program.slot_count = len(steps), len(slots)
        self.program.arena_image_bytes, self.program.tile = arena_image_bytes, tile

    cdef _fill_step(self, bnn_step *step, Call call, tuple x, int out):
        cdef int64_t x_rows = call.call.M, out_rows = call.call.M, width = 0
        step.call = call.call
        step.x, step.x2, step.out = x[0], x[1] if len(x) > 1 else -1, out
        if call.call.conv.window.kernel_h > 0:
            x_rows = call.call.conv.window.height * max(1, call.call.planes.x_bits)
            _check(bnn_window_out(&call.call.conv.window, &out_rows, &width), call.call.kernel,
                   dict(call.call.conv))
            out_rows *= max(1, call.call.limits.bits)
        for slot, rows in ((step.x, x_rows), (step.out, out_rows)):
            if rows < 1 or self.slots[slot].image_bytes % rows != 0:
                raise KernelError(message(call.kernel, self.slots[slot].image_bytes,
                                          f"bytes of {rows} equal rows"))
        step.call.x_bytes = self.slots[step.x].image_bytes // x_rows
        step.call.out_bytes = self.slots[step.out].image_bytes // out_rows

    def __dealloc__(self):
        PyMem_Free(self.steps)
        PyMem_Free(self.slots)
        PyMem_Free(self.image_bytes)

    @property
    def work(self):
        """How long an image takes on one thread, roughly, in products of bits."""
        return bnn_program_work(&self.program)

    def parts(self, int64_t images, int threads):
        """Return how many arenas a run has, and of how many images each."""
        cdef int64_t arenas = 0, part = 0
        bnn_program_parts(&self.program, images, threads, &arenas, &part)
        return arenas, part

    def arena_bytes(self, int64_t images, int threads):
        """Return the bytes of all arenas of a run."""
        cdef int64_t arenas = 0, part = 0
        bnn_program_parts(&self.program, images, threads, &arenas, &part)
        return arenas * bnn_arena_bytes(&self.program, part)

    def run(self, int64_t images, list buffers, arena, int threads, int64_t first_image=0,
            seed=0, sample=0):
        """Run on `images` images; buffers hold them all, `arena` at least arena_bytes of them."""
        cdef bnn_batch batch
        cdef int64_t arenas = 0, part = 0, failed = 0, i
        cdef int status
        cdef char **external
        _need("buffers of the program", len(buffers), self.externals)
        bnn_program_parts(&self.program, images, threads, &arenas, &part)
        batch.images, batch.first_image = images, first_image
        batch.seed, batch.sample = seed, sample
        batch.arena_bytes = bnn_arena_bytes(&self.program, part)
        if arena.nbytes < arenas * batch.arena_bytes:
            raise KernelError(message("arena", arena.nbytes, f"{arenas * batch.arena_bytes} bytes"))
        batch.arenas = <char *>_write(arena)
        external = <char **>PyMem_Malloc(max(self.externals, 1) * sizeof(char *))
        if external == NULL:
            raise MemoryError
        try:
            for i in range(self.externals):
                external[i] = <char *>_sized(buffers[i], images * self.image_bytes[i])
            batch.external = external
            with nogil:
                status = bnn_run_program(&self.program, &batch, threads, &failed)
        finally:
            PyMem_Free(external)
        _check(status, self.steps[failed].call.kernel, f"{images} images")
