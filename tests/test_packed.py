"""Packed form: zero entries between far non-zeros take lane cycles and reads, and are counted."""

import numpy as np
import pytest

from azsim import load_chip, load_network
from azsim.simulate import Speech, execute, load_speech, replay
from azsim.weights import calibrate, encode, quantize
from azsim.weights.prune import prune

INDEX_BITS, PES = 2, 16


@pytest.fixture(scope="module")
def case():
    network = prune(load_network("rnnt"), 0.08)
    speech = load_speech("models/demo/digits_1.wav", network)
    short = Speech(speech.path, speech.samples, speech.frames[:10], speech.config)
    quantized = quantize(network, calibrate(network, network.calibration), 8)
    chip = load_chip("az1_like", {"codec.name": "run_length", "codec.index_bits": INDEX_BITS, "mac_array.pes": PES,
                                  "weight_sram.form": "packed"})  # fmt: skip
    image = encode(quantized.tensors.values(), quantized.tables, chip)
    execution = execute(quantized, image, short.frames)
    return quantized, execution.record, replay(quantized, execution, short, chip, image)


def padding_of_column(column):
    """Walk down the rows of each PE: after 2 ** bits - 1 zeros the next one must be written."""
    written = 0
    for pe in range(PES):
        run = waiting = 0
        for weight in column[pe::PES]:
            if weight == 0 and run == 2**INDEX_BITS - 1:
                waiting, run = waiting + 1, 0
            elif weight == 0:
                run += 1
            else:
                written, waiting, run = written + waiting, 0, 0  # zeros that nothing follows are not written
    return written


def test_padding_entries_are_those_of_the_columns_that_are_sent(case):
    quantized, record, result = case
    padding = {name: np.array([padding_of_column(c) for c in t.values.T]) for name, t in quantized.tensors.items()}
    wanted = 0
    for n, op in enumerate(record.op):
        for place, tensor in enumerate(record.ops[op].tensors):
            part = record.part_start[n] + place
            if record.row[part] < 0:
                cols = record.ops[op].cols[place]
                wanted += int(padding[tensor][record.operand(part, cols)].sum())
    counts = result.timeline.counts
    assert counts.padding_entries == wanted > counts.issued_macs / 10
    assert counts.weight_sram_read_bytes == counts.issued_macs + wanted
    assert counts.metadata_read_bytes == (counts.issued_macs + wanted) * INDEX_BITS // 8


def test_padding_entries_are_priced_as_gated(case):
    line = next(line for line in case[2].energy.lines if "padding" in line.action)
    counts = case[2].timeline.counts
    assert line.count == counts.gated_macs + counts.padding_entries
