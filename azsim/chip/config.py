"""The processor as data: every number that the simulator needs, frozen and checked.

    DRAM --DMA--> stream FIFO --decoder--> weight SRAM (tile slots) --> MAC array --> accumulators --> vector unit
                                                activation and state SRAM <-----------------------------'

The defaults are a plausible edge part, all assumed; the named chips are the YAML files in
``presets/``, where each number carries its provenance. Times are in the units of a datasheet
(Hz, ns, bytes per second) and become integer cycles of ``Chip.clock_hz`` once, by ceil, in
the properties of ``Chip``.
"""

from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

VECTOR_FUNCTIONS = ("requantize", "add", "mul", "relu", "sigmoid", "tanh", "compare", "move", "argmax")
VectorFunction = Annotated[str, Field(pattern="^(" + "|".join(VECTOR_FUNCTIONS) + ")$")]


class Config(BaseModel):
    """Base of every azsim config: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again from the start."""
        return type(self)(**{**dict(self), **changes})


class Technology(Config):
    """The process that energy and area are priced in."""

    node_nm: float = Field(12.0, gt=0, description="feature size")
    volts: float = Field(0.8, gt=0, description="core supply")
    sram_flavor: Literal["LSTP", "LOP", "HP"] = Field("LSTP", description="cell flavor; moves leakage by decades")
    temperature_k: float = Field(300.0, ge=200, le=450, description="junction temperature")


class Dram(Config):
    """External memory as the accelerator sees it."""

    standard: Literal["LPDDR3", "LPDDR4", "LPDDR4X"] = Field("LPDDR4X", description="sets energy per bit")
    bandwidth_bytes_per_s: float = Field(1.6e9, gt=0, description="sustained share of the accelerator, after refresh")
    latency_ns: float = Field(100.0, ge=0, description="from request to first beat of a burst")
    burst_bytes: int = Field(64, gt=0, description="one transaction; tiles are padded to it")
    standby_share: float = Field(1.0, ge=0, le=1, description="share of DRAM standby and refresh power charged here")


class Stream(Config):
    """The path from DMA to decoder."""

    fifo_bursts: int = Field(16, ge=1, description="bursts between DMA and decoder")
    dma_outstanding: int = Field(2, ge=1, description="tile requests that may be in flight")
    fetch: Literal["all_columns", "active_columns"] = Field(
        "all_columns", description="active_columns: only columns whose activation is not zero, by column pointers"
    )
    bypass_sram: bool = Field(False, description="streamed weights go from the decoder to the PEs, past the slots")


class CodecConfig(Config):
    """How weights are stored in DRAM, and how fast the hardware takes them apart."""

    name: Literal["dense", "zero_mask", "run_length", "huffman"] = Field("zero_mask", description="family")
    symbols_per_cycle: int = Field(16, ge=1, description="decoder rate; the codec says what a symbol is")
    index_bits: int = Field(4, ge=1, le=8, description="run_length: width of the relative index")


class WeightSram(Config):
    """Weight memory: ``tile_slots`` buffers of ``tile_bytes``, the rest holds pinned tensors."""

    bytes: int = Field(256 * 1024, gt=0, description="all of it, slots and pins")
    tile_slots: int = Field(4, ge=1, description="tile buffers; 2 is double buffering")
    tile_bytes: int = Field(16 * 1024, gt=0, description="capacity of one slot")
    form: Literal["refilled", "packed"] = Field(
        "refilled", description="refilled: 8 bits a weight plus its zero mask; packed: the codec's entries"
    )
    pin: Literal["smallest_first", "most_bytes_saved", "none"] | tuple[str, ...] = Field(
        "smallest_first", description="tensors that stay: a rule, or name patterns in order of priority"
    )
    ports: Literal[1, 2] = Field(2, description="1: a bank is either filled or read until empty; 2: both at once")
    banks: int = Field(1, ge=1, description="banks that the tile slots are dealt to, slot i to bank i mod banks")

    @property
    def pin_bytes(self) -> int:
        """Capacity left for pinned tensors once the tile slots are taken out."""
        return self.bytes - self.tile_slots * self.tile_bytes

    @property
    def run_ahead(self) -> int:
        """Streamed tiles that may be in the slots at once: with one port, one per bank."""
        return self.tile_slots if self.ports == 2 else min(self.banks, self.tile_slots)

    @model_validator(mode="after")
    def _slots_fill_the_banks(self) -> Self:
        if self.tile_slots % self.banks:
            raise ValueError(
                f"`tile_slots % banks == 0` must hold, but got {self.tile_slots} slots in {self.banks} banks: "
                f"choose a number of banks that divides tile_slots"
            )
        return self

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        if self.pin_bytes < 0:
            raise ValueError(
                f"`tile_slots * tile_bytes <= bytes` must hold, but got {self.tile_slots} slots of "
                f"{self.tile_bytes:,} B in {self.bytes:,} B: lower tile_slots or tile_bytes, or raise bytes"
            )
        return self


class MacArray(Config):
    """PEs that multiply 8-bit weights by broadcast 8-bit activations."""

    dataflow: Literal["column_broadcast", "row_dot"] = Field(
        "column_broadcast", description="column_broadcast: PEs share activations; row_dot: each PE reads its own copy"
    )
    pes: int = Field(64, gt=0, description="processing elements; row r belongs to PE r mod pes")
    lanes: int = Field(8, gt=0, description="8-bit MAC lanes in a PE")
    pair_4_bit_weights: bool = Field(False, description="two products per lane and cycle for weights of 4 bits or less")
    skip_weights: bool = Field(True, description="zero weights take no lane cycle")
    skip_activations: bool = Field(True, description="zero activations are not broadcast")
    gate_weights: bool = Field(True, description="an issued zero weight does not toggle its multiplier: saves energy")
    gate_activations: bool = Field(True, description="the same for a zero activation")
    scan_width: int = Field(16, gt=0, description="weights, with masks, that a PE looks at per cycle")
    broadcast_width: int = Field(1, gt=0, description="column_broadcast: activations sent per cycle")
    queue_depth: int = Field(8, gt=0, description="usable activation queue slots per PE")
    bubble_period: int = Field(0, ge=0, description="one idle broadcast cycle per so many activations scanned; 0 none")
    lookahead: int = Field(0, ge=0, description="row_dot: groups beyond the oldest that lanes may take products from")
    activation_copy_bytes: int = Field(4096, gt=0, description="row_dot: private activation buffer of each PE")
    fill_cycles: int = Field(7, ge=0, description="pipeline fill and drain, paid once per op")
    accumulator_bytes: int = Field(32 * 1024, gt=0, description="int32 accumulators of all PEs and sets")
    accumulator_sets: int = Field(2, ge=1, description="ops whose sums may be alive at once")

    @property
    def accumulator_rows(self) -> int:
        """Output rows that one accumulator set holds."""
        return self.accumulator_bytes // self.accumulator_sets // 4

    def lanes_for(self, bits: int) -> int:
        """Products that a PE makes in a cycle with weights of so many bits."""
        return self.lanes * (2 if self.pair_4_bit_weights and bits <= 4 else 1)


class VectorUnit(Config):
    """Element-wise functions after the MAC array: requantize, table look-ups, LSTM cell algebra."""

    lanes: dict[VectorFunction, Annotated[int, Field(gt=0)]] = (
        Field(
            {
                "requantize": 16, "add": 16, "mul": 16, "relu": 16, "sigmoid": 8, "tanh": 8,
                "compare": 16, "move": 16, "argmax": 16,
            },
            description="elements per cycle of each function",
        )
    )  # fmt: skip
    fill_cycles: int = Field(8, ge=0, description="pipeline depth, paid once per output pass")

    @model_validator(mode="after")
    def _every_function_has_lanes(self) -> Self:
        missing = [name for name in VECTOR_FUNCTIONS if name not in self.lanes]
        if missing:
            raise ValueError(f"`vector_unit.lanes` must name every function, but lacks {', '.join(missing)}")
        return self


class Controller(Config):
    """The sequencer: it starts ops and follows branches."""

    op_overhead_cycles: int = Field(16, ge=0, description="from inputs ready to op start")
    branch_redirect_cycles: int = Field(8, ge=0, description="from a decision to the first request of its arm")
    branch_policy: Literal["wait", "likely", "both"] = Field(
        "wait", description="weights fetched before a decision: none, those of the arm taken last time, or of all arms"
    )
    chunk_frames: int = Field(1, ge=1, description="encoder frames that run together, layer by layer")


class Host(Config):
    """The core beside the accelerator: it computes features and runs the search."""

    feature_us_per_frame: float = Field(100.0, ge=0, description="from last sample of a frame to its features")
    feature_uj_per_frame: float = Field(5.0, ge=0, description="energy of that")


class Chip(Config):
    """Everything the simulator needs to know about one neural edge processor."""

    name: str = "unnamed"
    description: str = ""
    clock_hz: float = Field(500e6, gt=0, description="one clock for the whole accelerator")
    technology: Technology = Technology()
    dram: Dram = Dram()
    stream: Stream = Stream()
    codec: CodecConfig = CodecConfig()
    weight_sram: WeightSram = WeightSram()
    activation_sram_bytes: int = Field(64 * 1024, gt=0, description="activations and recurrent state")
    mac_array: MacArray = MacArray()
    vector_unit: VectorUnit = VectorUnit()
    controller: Controller = Controller()
    host: Host = Host()

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        """Combinations that no machine has, or that the model leaves out."""
        packed, columns = self.weight_sram.form == "packed", self.mac_array.dataflow == "column_broadcast"
        by_column = self.stream.fetch == "active_columns" or self.stream.bypass_sram
        wrong = [
            (packed and self.codec.name != "run_length",
             f"`weight_sram.form: packed` needs a codec whose entries the array can read, run_length, but got "
             f"{self.codec.name}: choose codec.name run_length or weight_sram.form refilled"),
            (packed and not columns, "`weight_sram.form: packed` needs mac_array.dataflow column_broadcast"),
            (by_column and not columns,
             "`stream.fetch: active_columns` and `stream.bypass_sram` need mac_array.dataflow column_broadcast"),
            (by_column and packed,
             "`stream.fetch: active_columns` and `stream.bypass_sram` need weight_sram.form refilled"),
            (by_column and self.controller.chunk_frames > 1,
             "`stream.fetch: active_columns` and `stream.bypass_sram` need controller.chunk_frames 1: frames of a "
             "chunk share a fetch, but not their zeros"),
            (self.stream.fetch == "active_columns" and not self.mac_array.skip_activations,
             "`stream.fetch: active_columns` needs mac_array.skip_activations"),
            (by_column and self.controller.branch_policy != "wait",
             f"`stream.fetch: active_columns` and `stream.bypass_sram` need controller.branch_policy wait, got "
             f"{self.controller.branch_policy}: nothing is fetched before its activations are known"),
            (self.controller.chunk_frames > 1 and self.controller.branch_policy != "wait",
             f"`controller.chunk_frames > 1` needs controller.branch_policy wait, got {self.controller.branch_policy}"),
        ]  # fmt: skip
        for is_wrong, message in wrong:
            if is_wrong:
                raise ValueError(message)
        return self

    @property
    def is_cut_by_columns(self) -> bool:
        """Whether each column of a weight matrix starts on a burst, so that it can be fetched or decoded alone."""
        return self.stream.fetch == "active_columns" or self.stream.bypass_sram

    @property
    def burst_cycles(self) -> int:
        """Cycles that one burst holds the DRAM bus."""
        return max(1, ceil(self.dram.burst_bytes * self.clock_hz / self.dram.bandwidth_bytes_per_s))

    @property
    def latency_cycles(self) -> int:
        """Cycles from a DRAM request to its first beat."""
        return self.cycles(self.dram.latency_ns * 1e-9)

    @property
    def peak_macs_per_s(self) -> float:
        """Dense 8-bit MACs per second with every lane busy."""
        return self.mac_array.pes * self.mac_array.lanes * self.clock_hz

    def cycles(self, seconds: float) -> int:
        """Whole cycles that cover a time, by ceil; a float error of 1e-9 cycle is forgiven."""
        return ceil(seconds * self.clock_hz - 1e-9)
