"""Which tensors stay in weight SRAM beside the tile slots, by ``weight_sram.pin``.

``smallest_first`` keeps the most tensors; ``most_bytes_saved`` takes them by DRAM bytes that the utterance saves
per byte of SRAM, best first, passing over what no longer fits; patterns pin by name, in order.
"""

from fnmatch import fnmatchcase

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CapacityError, ChipError
from azsim.execute.record import ActivityRecord
from azsim.weights.image import DramImage


def pinned_tensors(record: ActivityRecord, image: DramImage, chip: Chip) -> tuple[str, ...]:
    """Names of the pinned tensors.

    Raises
    ------
    ChipError
        If a pattern matches no tensor.
    CapacityError
        If a tensor that a pattern names does not fit beside the tile slots.
    """
    pin, room = chip.weight_sram.pin, chip.weight_sram.pin_bytes
    sizes = {name: tensor.sram_bytes for name, tensor in image.tensors.items()}
    if pin == "none":
        return ()
    if pin == "smallest_first":
        chosen = []
        for name in sorted(sizes, key=lambda n: (sizes[n], n)):
            if sizes[name] > room:
                break
            chosen.append(name)
            room -= sizes[name]
        return tuple(chosen)
    if pin == "most_bytes_saved":
        return _most_bytes_saved(record, image, sizes, room)
    return _by_name(pin, sizes, room)


def bytes_saved(record: ActivityRecord, image: DramImage) -> dict[str, float]:
    """DRAM bytes that the utterance would not fetch if a tensor were pinned: every use but one fetch of all of it."""
    uses = np.bincount(record.op, minlength=len(record.ops))
    saved = {}
    for name, tensor in image.tensors.items():
        times = sum(int(uses[i]) for i, op in enumerate(record.ops) if name in op.tensors)
        stored = int(tensor.stored_bytes.sum())
        per_use = stored / max(1, tensor.rows) if tensor.kind == "embedding" else stored
        saved[name] = times * per_use - stored
    return saved


def _most_bytes_saved(record: ActivityRecord, image: DramImage, sizes: dict[str, int], room: int) -> tuple[str, ...]:
    saved = bytes_saved(record, image)
    chosen = []
    for name in sorted(sizes, key=lambda n: (-saved[n] / max(1, sizes[n]), n)):
        if saved[name] > 0 and sizes[name] <= room:
            chosen.append(name)
            room -= sizes[name]
    return tuple(chosen)


def _by_name(patterns: tuple[str, ...], sizes: dict[str, int], room: int) -> tuple[str, ...]:
    chosen: list[str] = []
    for pattern in patterns:
        matches = [name for name in sizes if fnmatchcase(name, pattern)]
        if not matches:
            raise ChipError(f"weight_sram.pin: {pattern!r} matches no tensor; there are {', '.join(sorted(sizes))}")
        for name in (m for m in matches if m not in chosen):
            if sizes[name] > room:
                raise CapacityError(
                    f"weight_sram.pin: {name!r} takes {sizes[name]:,} B, but {room:,} B are left beside the tile "
                    f"slots; raise weight_sram.bytes or pin less"
                )
            chosen.append(name)
            room -= sizes[name]
    return tuple(chosen)
