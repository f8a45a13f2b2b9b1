"""What a hardware profile holds once read: SI constants with their provenance, all frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

STATUSES = ("measured", "published", "derived", "scaled", "assumed")
DEFAULT_BANDS = {"measured": 1.1, "published": 1.3, "derived": 2.0, "scaled": 2.0, "assumed": 3.0}
STRUCTURAL_BANDS = {"asic": 1.5, "fpga": 1.5, "mcu": 1.5, "cpu": 1.5, "gpu": 1.5}
OPERANDS = ("weights", "activations")
# P(-1 < z < 1) of a standard normal z, which batch norm with gamma 1 and beta 0 aims at.
UNSATURATED = math.erf(math.sqrt(0.5))


@dataclass(frozen=True, slots=True)
class Derivation:
    """Where a constant that the profile leaves out was taken from.

    Parameters
    ----------
    profile, constant : str
        The table and the number in it.
    from_node, to_node : str
        Process and supply, as in ``45 nm, 0.9 V``.
    factor : float
        The constant over the table's number.
    band_factor : float
        By how much the band is wider than the table's.
    rule : str
    """

    profile: str
    constant: str
    from_node: str
    to_node: str
    factor: float
    band_factor: float
    rule: str


@dataclass(frozen=True, slots=True)
class Constant:
    """One number of a profile with its unit, its uncertainty and where it comes from.

    Parameters
    ----------
    name : str
        Unique in its profile: ``add.float32`` (an action), ``gb.read``, ``static.array``.
    value_si : float
    dimension : str
        SI unit, such as ``J/op``.
    band : float
        90 % factor: the true value is within value / band and value * band with 90 % probability.
    group : str
        Constants of one group (source or node) share half of their log-variance.
    status : str
        measured, published, derived, scaled or assumed.
    source, at : str
        Citation, and the place inside it (for derived values, the formula).
    derived : Derivation or None
        Of a default from the node table.
    """

    name: str
    value_si: float
    dimension: str
    band: float
    group: str
    status: str
    source: str
    at: str
    derived: Derivation | None = None

    @property
    def identity(self) -> str:
        """What this number is an estimate of: equal for equal numbers of one source and place."""
        return f"{self.group}|{self.at}|{self.name}|{self.value_si!r}"


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory level; ``read`` and ``write`` are per access (one word) or per bit.

    Parameters
    ----------
    kind : str
        ``sram``, ``registers`` or ``dram`` (off chip).
    size_bytes : int or None
        None for off-chip memory, which holds everything.
    word_bits : int
        Bits of one access; of one burst for DRAM.
    read_ports, write_ports, shared_ports : int
        Accesses per cycle and bank; a shared port serves either.
    banks : int
        Accesses to different banks go in parallel.
    holds : tuple of str
        Which of ``weights`` and ``activations`` may live here.
    bandwidth : Constant or None
        Bytes per second, for off-chip memory.
    power : tuple of Constant
        Leakage and standby, in watts, drawn all the time.
    points : tuple of (int, Constant)
        The table that the energy was taken from: bytes, energy per access of ``points_word`` bits.
    """

    name: str
    kind: str
    size_bytes: int | None
    word_bits: int
    read_ports: int
    write_ports: int
    shared_ports: int
    banks: int
    holds: tuple[str, ...]
    read: Constant
    write: Constant
    bandwidth: Constant | None
    power: tuple[Constant, ...]
    points: tuple[tuple[int, Constant], ...] = ()
    points_word: int = 0

    @property
    def off_chip(self) -> bool:
        """Whether this memory is outside the chip."""
        return self.kind == "dram"


@dataclass(frozen=True, slots=True)
class Array:
    """The compute array: rows reduce, columns are output channels.

    Parameters
    ----------
    rows, columns : int
    unroll_rows : str
        ``K`` (the flattened dot product) or ``C_in`` (channels of one tap).
    accumulators : int
        Partial sums that one column holds, one per output pixel.
    emulate : str
        ``wider`` runs an unlisted dtype pair on the next wider one, ``error`` refuses.
    planes : bool
        Whether k-bit operands run as bit planes on the bit datapath.
    ops_per_pe : mapping of str to float
        MACs per cycle and processing element, by ``"act x weight"``.
    reference_activity : Constant or None
        Share of product bits that toggle from one pixel to the next, at which the energies of
        operators hold; 1/1.
    """

    rows: int
    columns: int
    unroll_rows: str
    accumulators: int
    emulate: str
    planes: bool
    ops_per_pe: Mapping[str, float]
    reference_activity: Constant | None = None


@dataclass(frozen=True, slots=True)
class Datapath:
    """How arithmetic is priced.

    Parameters
    ----------
    accumulator : str or mapping
        ``exact``: integer adders are as wide as operand bits + ceil(log2 K). A mapping from
        ``"act x weight"`` to a dtype fixes the adder, ``default`` for the pairs not listed.
    bit_mac : str
        ``tree``: XNOR words, a compressor tree and one accumulation a word. ``single``: one XNOR
        and one full adder per bit-MAC. ``serial``, of all integers: for each bit of the activation
        as many XNORs as the weight has bits, and an adder of these and ceil(log2 K) bits.
    """

    accumulator: str | Mapping[str, str]
    bit_mac: str


@dataclass(frozen=True, slots=True)
class Rng:
    """The random number generator of stochastic binarization.

    Parameters
    ----------
    generator : str
    bits : int
        Per draw: 1, 2, 4, 8 or 16.
    lazy : bool
        Whether a draw is compared bit by bit and ends at the first difference.
    energy : Constant
        Joules per random bit.
    skip_saturated : bool
        Whether nothing is drawn where the probability is 0 or 1.
    unsaturated : float
        Share of draws with a probability between, for ``skip_saturated``.
    """

    generator: str
    bits: int
    lazy: bool
    energy: Constant
    skip_saturated: bool = False
    unsaturated: float = UNSATURATED


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A streaming dataflow: one stage of PE x SIMD lanes for each Dense and Conv2d.

    Parameters
    ----------
    bus_bits : int
        Bits of an image that come in per cycle, and of a result that go out.
    encode : str
        ``host``: the stream carries what Encode or FromGrid yields; ``chip``: the network's input
        as it is.
    operands : str
        ``parallel``: an activation of several bits takes one cycle; ``serial``: one for each bit.
    weight_bits, activation_bits : int
        The widest integers that a stage takes.
    lanes : int
        The largest sum of PE x SIMD where the folding is derived.
    memory_bytes : int
        On chip, for weights, thresholds and line buffers together.
    """

    bus_bits: int
    encode: str
    operands: str
    weight_bits: int
    activation_bits: int
    lanes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class KernelLevel:
    """One cache or memory under kernels; sizes and rates are of all units together.

    Parameters
    ----------
    kind : str
        ``cache``, ``sram``, ``flash`` or ``dram``.
    size_bytes : int or None
        None for what holds everything.
    line_bits : int
        What one transfer moves, used or not.
    bandwidth : Constant
        Bytes per second, reads and writes together.
    """

    name: str
    kind: str
    size_bytes: int | None
    line_bits: int
    holds: tuple[str, ...]
    bandwidth: Constant


@dataclass(frozen=True, slots=True)
class Kernels:
    """A processor that runs one or more kernels for each layer: CPU, GPU or microcontroller.

    Parameters
    ----------
    units : int
        Cores, or multiprocessors, that share the work of a kernel.
    tile_pixels, tile_channels : int
        Outputs that a unit computes at once; whole tiles are computed.
    bit_products : str
        ``xor`` and ``and``: by which instruction bits are multiplied (``and`` counts the ones of
        the activations as well); ``emulated``: by a wider pair.
    convolution : str
        ``direct``, or ``im2col``: a kernel of its own writes the windows first.
    epilogue : str
        ``fused`` into the layer's kernel, or ``separate``: each node is a kernel of its own.
    batching : str
        ``together``: a kernel takes all images of a batch; ``single``: one after the other.
    energy : str
        ``none``, ``power`` (x time) or ``actions`` (their energies, and power x time).
    launch : Constant or None
        Seconds before a kernel begins.
    macs, depthwise : mapping of str to Constant
        MACs per cycle and unit by pair of types; the second where each channel is its own group.
    granules : mapping of str to int
        Elements of a dot product that a kernel of a pair takes at once; the last ones are padded.
    operations : mapping of str to Constant
        Elementwise operations per cycle and unit by type.
    randbits : Constant or None
        Random bits per cycle and unit.
    levels : tuple of KernelLevel
        Nearest first.
    energies : mapping of str to Constant
        Joules by pair, type and level, of ``randbit`` and ``launch``, for ``energy: actions``.
    """

    units: int
    tile_pixels: int
    tile_channels: int
    bit_products: str
    convolution: str
    epilogue: str
    batching: str
    energy: str
    launch: Constant | None
    macs: Mapping[str, Constant]
    depthwise: Mapping[str, Constant]
    granules: Mapping[str, int]
    operations: Mapping[str, Constant]
    randbits: Constant | None
    levels: tuple[KernelLevel, ...]
    energies: Mapping[str, Constant]

    def chain(self, operand: str) -> tuple[KernelLevel, ...]:
        """Return the levels that may hold ``weights`` or ``activations``, nearest first."""
        return tuple(level for level in self.levels if operand in level.holds)

    def constants(self) -> tuple[Constant, ...]:
        """Return every constant of the kernels."""
        tables = (self.macs, self.depthwise, self.operations, self.energies)
        found = [constant for table in tables for constant in table.values()]
        found += [level.bandwidth for level in self.levels]
        return (*found, *(c for c in (self.launch, self.randbits) if c is not None))


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """A target and what its actions cost; see docs/profiles.md for the file format.

    Parameters
    ----------
    scope : str
        ``chip``, or ``arithmetic`` for a table without memories and input/output.
    process_m, vdd_v, clock_hz : float
    overhead : Constant or None
        Factor on every datapath action for registers, clock and control.
    actions : mapping of str to Constant
        Energy per operation, by ``verb.dtype``.
    memories : tuple of Memory
        Nearest to the array first.
    io : Constant or None
        Energy per bit through the pins, where no DRAM is modelled.
    static : tuple of Constant
        Power drawn all the time by what is not a memory.
    structural_band : float
        90 % factor for what the model leaves out.
    pipeline : Pipeline or None
        Of ``latency_model: pipeline``, where there is no array, no datapath and no memory.
    kernels : Kernels or None
        Of ``latency_model: kernels``; the array then holds its pairs of types alone.
    root : str
        The name at the root of the chain of ``extends``, where the file's own is another: all
        that extend one chip share its structural factor.
    notes : tuple of str
        What estimates on it must say: energies taken over from another node.
    """

    name: str
    kind: str
    description: str
    scope: str
    process_m: float
    vdd_v: float
    clock_hz: float
    latency_model: str
    calibrated_on: tuple[str, ...]
    sources: Mapping[str, str]
    array: Array
    datapath: Datapath
    overhead: Constant | None
    actions: Mapping[str, Constant]
    memories: tuple[Memory, ...]
    io: Constant | None
    static: tuple[Constant, ...]
    rng: Rng | None
    structural_band: float
    pipeline: Pipeline | None = None
    kernels: Kernels | None = None
    root: str = field(default="", compare=False)
    notes: tuple[str, ...] = ()

    def __hash__(self) -> int:  # of fields that have one; equality is of all
        return hash((self.name, self.memories))

    def chain(self, operand: str) -> tuple[Memory, ...]:
        """Return the memories that may hold ``weights`` or ``activations``, nearest first."""
        return tuple(m for m in self.memories if operand in m.holds)

    def constants(self) -> tuple[Constant, ...]:
        """Return every constant of the profile."""
        found = [*self.actions.values(), *self.static]
        found += [c for c in (self.overhead, self.io, self.rng.energy if self.rng else None,
                              self.array.reference_activity) if c]  # fmt: skip
        for m in self.memories:
            found += [m.read, m.write, *m.power, *([m.bandwidth] if m.bandwidth else [])]
        return (*found, *(self.kernels.constants() if self.kernels is not None else ()))
