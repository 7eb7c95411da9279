"""How much background DRAM traffic can a household bear before a deadline is missed, on each chip?

A search for each preset minimizes the bandwidth that the background leaves, under the condition that no deadline is
missed and nobody falls behind: where it ends, the load is the highest that was found to be borne. A load of all the
bandwidth and more cannot be built and costs no run.

Expected: a chip whose weights stay in its SRAM hardly asks for DRAM and bears nearly all that the DRAM moves; one that
streams dense weights bears the least of its bandwidth.

Method: the last tenth of each chip's bandwidth is searched; on all of it, 16 points on a log axis met every deadline.

Saw: az1_like bears 98.97 % of its 1.6 GB/s and misses a deadline at 99.2 %; the dense chip 98.4 % and 98.6 %. az2_like,
whose weights are pinned, missed none up to 99.9 % of 6.4 GB/s. These networks are small: what a chip streams for them
fits into the gaps that others leave, until the gaps are gone.

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
from azsim.sweep.axis import Axis
from azsim.sweep.space import Space

SPACE = Path(__file__).with_name("household_load.yaml")
LOAD = "scenario.background.display.bytes_per_s"
LEAST, MOST = 0.9, 0.9995  # of the bandwidth
POINTS, BATCH = 24, 2  # small batches, so that the search learns from the first points


def with_one_utterance(space: Space, folder: Path) -> Space:
    """The space over a household that says one thing."""
    scenario = load_scenario(space.scenario)
    short = scenario.replace(utterances=scenario.utterances[:1]).model_dump(mode="json")
    place = folder / "short.yaml"
    place.write_text(yaml.safe_dump(short, sort_keys=False))
    return space.replace(scenario=str(place))


def best_of(space: Space, chip: str, place: Path, points: int, workers: int | None, networks: dict) -> dict:
    """The highest load found on a chip, and the lowest found too high."""
    bandwidth = load_chip(chip).dram.bandwidth_bytes_per_s
    others = sum(t.bytes_per_s for name, t in load_scenario(space.scenario).background.items() if name not in LOAD)
    axis = Axis.model_validate({"from": LEAST * bandwidth - others, "to": MOST * bandwidth - others})
    alone = space.replace(name=f"{space.name}-{chip}", chip=chip, axes={LOAD: axis})
    found = search(
        alone, place, ["dram_left_bytes_per_s"], points, seed=1, workers=workers, networks=networks, batch=BATCH
    )
    good, bad = (found[found["is_feasible"] == kept] for kept in (True, False))
    best = good.sort_values("dram_left_bytes_per_s").iloc[0] if len(good) else None
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
