"""Which tensors stay on the chip: the rules, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_image import matrix, small_chip

from azsim.errors import CapacityError, ChipError
from azsim.execute.record import Op
from azsim.timing.pins import bytes_saved, pinned_tensors
from azsim.weights import encode

# beside two slots of 512 B 7,168 B are left; 9 bits a weight: 1,125 + 2,250 fit, 4,500 not with them
TENSORS = [matrix(40, 100, name="big"), matrix(20, 100, name="mid"), matrix(10, 100, name="small")]


def pinned(pin, uses=(1, 1, 1), tensors=TENSORS):
    chip = small_chip(pin=pin)
    return pinned_tensors(record_of(tensors, uses), encode(tensors, {}, chip), chip)


def record_of(tensors, uses):
    """As much of a record as pins look at: how often each tensor is used."""
    ops = [Op(t.name, "step", (t.name,), (t.values.shape[1],), {}, 0, 0) for t in tensors]
    return SimpleNamespace(ops=ops, op=np.repeat(np.arange(len(ops)), uses))


def test_smallest_tensors_are_pinned_first():
    assert pinned("smallest_first") == ("small", "mid")
    assert pinned("none") == ()
    assert pinned(("big", "s*")) == ("big", "small")


def test_most_bytes_saved_goes_by_uses_and_passes_over_what_no_longer_fits():
    # per byte of SRAM each use saves about as much, so that uses decide
    assert pinned("most_bytes_saved", uses=(9, 5, 2)) == ("big", "mid")
    assert pinned("most_bytes_saved", uses=(5, 9, 2)) == ("mid", "big")
    assert pinned("most_bytes_saved", uses=(5, 2, 9)) == ("small", "big"), "1,543 B are left, mid takes 2,250"
    assert pinned("most_bytes_saved", uses=(2, 3, 9)) == ("small", "mid"), "3,793 B are left, big takes 4,500"
    assert pinned("most_bytes_saved", uses=(1, 1, 9)) == ("small",), "a tensor that is used once is fetched once anyway"


def test_bytes_saved_by_hand():
    image = encode(TENSORS, {}, small_chip())
    stored = {name: int(t.stored_bytes.sum()) for name, t in image.tensors.items()}
    saved = bytes_saved(record_of(TENSORS, (3, 1, 0)), image)
    assert saved == {"big": 2 * stored["big"], "mid": 0, "small": -stored["small"]}


def test_a_pin_that_cannot_be_kept_is_an_error():
    tensors = [matrix(40, 200, name="huge"), matrix(4, 4, name="tiny")]
    with pytest.raises(ChipError, match="'mini' matches no tensor; there are huge, tiny"):
        pinned(("mini",), (1, 1), tensors)
    with pytest.raises(CapacityError, match="'huge' takes 9,000 B, but 7,168 B are left"):
        pinned(("huge",), (1, 1), tensors)
