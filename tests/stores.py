"""Stores with real chips and invented results, for tests of what is read from them."""

import hashlib

from azsim.chip import load_chip
from azsim.sweep import Store
from azsim.sweep.figures import RESULTS, static_figures
from azsim.sweep.store import Row

FAILURE = "layer 'a': one row takes 501 B </script><script>window.broken = 1</script>"


def row(axes: dict, **figures) -> Row:
    """A point with a real chip and invented results: more PEs are faster and larger, more bandwidth costs energy."""
    chip = load_chip("az1_like", {k: v for k, v in axes.items() if "." in k})
    bandwidth = chip.dram.bandwidth_bytes_per_s / 1e9
    compute, fetch = 8.0 / chip.mac_array.pes, 0.2 / bandwidth
    results = dict.fromkeys(RESULTS, 1.0) | static_figures(chip)
    results |= {"latency_p95_ms": max(compute, fetch), "energy_working_uj": 500 + 100 * bandwidth, "wer": 0.0}
    results |= {"bound": "compute" if compute > fetch else "bandwidth", "text": "one"} | figures
    key = hashlib.sha256(repr(axes).encode()).hexdigest()[:16]
    return Row(
        key=key,
        chip=chip.model_dump(),
        network="amnet",
        network_hash="h",
        weight_bits=axes.get("weight_bits", 8),
        weight_density=axes.get("weight_density"),
        audio=axes.get("audio", "a.wav"),
        audio_hash="h",
        code_version="v",
        figures=results,
        seconds=0.1,
    )


def store_of(path, axes: list[dict], failures=(), **figures):
    rows = [row(a, **figures) for a in axes]
    with Store(path) as store:
        store.add(rows, [(f"f{n}", text) for n, (_, text) in enumerate(failures)])
        store.enlist("demo", [(r.key, a) for r, a in zip(rows, axes, strict=True)])
        store.enlist("demo", [(f"f{n}", a) for n, (a, _) in enumerate(failures)])
    return path


def grid() -> list[dict]:
    """Two axes that cross, a conditional one, and rows of values that go together."""
    points = []
    for pes in (16, 32, 64, 128):
        for bandwidth in (0.4e9, 1.6e9, 6.4e9):
            for size, tile in ((131072, 8192), (262144, 16384)):
                base = {"weight_sram.bytes": size, "weight_sram.tile_bytes": tile, "mac_array.pes": pes,
                        "dram.bandwidth_bytes_per_s": bandwidth}  # fmt: skip
                points.append({**base, "codec.name": "zero_mask"})
                points += [{**base, "codec.name": "run_length", "codec.index_bits": bits} for bits in (3, 5)]
    return points


SMALL = {
    "empty": ([], []),
    "only_failures": ([], [({"mac_array.pes": 4096}, FAILURE)]),
    "one_point": ([{"mac_array.pes": 16}], []),
    "one_axis": ([{"mac_array.pes": pes} for pes in (16, 32, 64)], []),
}
