"""How much background DRAM traffic can a household bear before a deadline is missed, on each chip?

A search for each preset minimizes the bandwidth that the background leaves, under the condition that no deadline is
missed and nobody falls behind: where it ends, the load is the highest that was found to be borne. A load of all the
bandwidth and more cannot be built and costs no run.

Expected: a chip whose weights stay in its SRAM hardly asks for DRAM and bears nearly all that the DRAM moves; one that
streams dense weights bears the least of its bandwidth.

Saw: on no chip did one of 16 points miss a deadline, up to 98 % of the 1.6 GB/s of az1_like and of the dense chip,
with a worst frame of 13 ms and 21 ms; on az2_like, whose weights are pinned, up to 90 % of 6.4 GB/s with 0.21 ms as
without any load. Where a deadline breaks lies closer to the bandwidth than 16 points on so wide an axis come.

    python experiments/household_load.py --store out/household_load.db
"""

import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
import yaml

from azsim.chip import load_chip
from azsim.graph import load_network
from azsim.stream import load_scenario
from azsim.sweep import load_space, search
from azsim.sweep.space import Space

SPACE = Path(__file__).with_name("household_load.yaml")
LOAD = "scenario.background.display.bytes_per_s"
POINTS, BATCH = 16, 2  # small batches, so that the search learns from the first points


def with_one_utterance(space: Space, folder: Path) -> Space:
    """The space over a household that says one thing."""
    scenario = load_scenario(space.scenario)
    short = scenario.replace(utterances=scenario.utterances[:1]).model_dump(mode="json")
    place = folder / "short.yaml"
    place.write_text(yaml.safe_dump(short, sort_keys=False))
    return space.replace(scenario=str(place))


def best_of(space: Space, chip: str, place: Path, points: int, workers: int | None, networks: dict) -> dict:
    """The highest load found on a chip, and the lowest found too high."""
    alone = space.replace(name=f"{space.name}-{chip}", chip=chip, axes={LOAD: space.axes[LOAD]})
    found = search(
        alone, place, ["dram_left_bytes_per_s"], points, seed=1, workers=workers, networks=networks, batch=BATCH
    )
    good, bad = (found[found["is_feasible"] == kept] for kept in (True, False))
    best = good.sort_values("dram_left_bytes_per_s").iloc[0] if len(good) else None
    bandwidth = load_chip(chip).dram.bandwidth_bytes_per_s
    load = best["dram_background_bytes_per_s"] if best is not None else float("nan")
    return {
        "chip": chip,
        "points": len(found),
        "bandwidth_gb_per_s": bandwidth / 1e9,
        "highest_load_gb_per_s": load / 1e9,
        "share": load / bandwidth,
        "lowest_too_high_gb_per_s": bad["dram_background_bytes_per_s"].min() / 1e9,
        "worst_frame_ms": best["worst_frame_ms"] if best is not None else float("nan"),
        "felt_latency_mean_ms": best["felt_latency_mean_ms"] if best is not None else float("nan"),
    }


def main(
    store: Annotated[Path | None, typer.Option(help="keeps the points; a temporary file if not given")] = None,
    workers: Annotated[int | None, typer.Option(help="processes; one per core by default")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="one utterance, 4 points on each chip")] = False,
) -> None:
    """Print the highest load per preset."""
    with tempfile.TemporaryDirectory() as folder:
        space = load_space(SPACE, is_enumerable=False)
        chips = [str(chip) for chip in space.axes["chip"].grid]
        space = with_one_utterance(space, Path(folder)) if quick else space
        models = {network.model for network in load_scenario(space.scenario).networks.values()}
        networks = {model: load_network(model) for model in sorted(models)}
        place = store or Path(folder) / "load.db"
        rows = [best_of(space, chip, place, 4 if quick else POINTS, workers, networks) for chip in chips]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    typer.run(main)
