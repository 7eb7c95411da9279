"""What happened, as integers: the only thing that energy is priced from."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counts:
    """Actions of one replayed utterance. Every field is a count; rates are computed elsewhere.

    ``dense = skipped + issued`` and ``issued = gated + effectual`` hold for the MACs, and
    ``dram_read_bytes = sum(packed_bytes.values()) + padding_bytes + wasted_bytes``.
    """

    active_cycles: int = 0  # cycles in which any part of the chip had work under way
    array_cycles: int = 0  # cycles in which the MAC array computes; its clock is gated in the others
    utterance_cycles: int = 0  # first sample to last result
    clock_hz: float = 0.0

    dense_macs: int = 0
    skipped_macs: int = 0
    issued_macs: int = 0
    gated_macs: int = 0
    effectual_macs: int = 0
    ungated_macs: int = 0  # the share of gated ones that no gate of the chip catches: they cost a full MAC
    padding_entries: int = 0  # zero entries of packed form: each takes a lane cycle, and is none of the MACs

    dram_bursts: int = 0
    dram_read_bytes: int = 0  # on the bus, padding included
    packed_bytes: dict[str, int] = field(default_factory=dict)  # by tensor kind, pins included, no padding
    pinned_packed_bytes: int = 0  # the share of the above that was fetched once
    padding_bytes: int = 0
    wasted_bytes: int = 0  # packed bytes of arms that were fetched and not taken

    decoder_bytes: int = 0
    decoder_symbols: int = 0

    weight_sram_write_bytes: int = 0  # weights (or packed entries) into slots and pins
    weight_sram_read_bytes: int = 0  # by the PEs, weights only
    metadata_write_bytes: int = 0  # zero masks, run lengths, pointers
    metadata_read_bytes: int = 0
    activation_sram_read_bytes: int = 0
    activation_sram_write_bytes: int = 0
    activation_copy_read_bytes: int = 0  # private copies of the PEs, row_dot only
    activation_copy_write_bytes: int = 0
    accumulator_read_bytes: int = 0
    accumulator_write_bytes: int = 0
    broadcasts: int = 0  # activations sent to all PEs
    queue_writes: int = 0  # one per PE and broadcast

    vector_elements: dict[str, int] = field(default_factory=dict)  # by function
    ops: int = 0
    host_frames: int = 0
