"""What does speculative end-pointing gain the person, and what does it cost?

Expected: the early end-pointer leads by some 200 ms and the way to the cloud and back takes 100 ms, so it hides nearly
all of that; it is wrong where people pause, which costs a lattice, and never the answer.

Method: a folder of recordings with transcripts (by default the six commands of the demo) is a stream, simulated with
and without speculation, for several times that the cloud takes. ``python -m models.training.household_card recordings``
writes test sets.

Saw, on 60 recordings of voices and phrases never heard: 715 ms become 624 ms where the way takes 100 ms, and 815 ms
become 656 ms where it takes 200 ms, of which a lead of 210 ms could hide all. Two starts of 60 were revoked: 203 of
7,967 bytes, 19 uJ of 2.6 J. The same audio as Opus is 74 times the lattices, raw 632 times.

    python experiments/speculation.py [--recordings FOLDER]
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from azsim.chip import load_chip
from azsim.listen import follow, prepare
from azsim.report.stream_tables import tabulate_stream
from azsim.stream import load_scenario

HERE = Path(__file__).parent
MOST = 60  # recordings, evenly taken from the folder
DEMO = HERE.parent / "models" / "demo"


def main(
    recordings: Annotated[Path, typer.Option(help="folder of .wav files, a .txt beside each")] = DEMO,
    quick: Annotated[bool, typer.Option("--quick", help="two recordings")] = False,
) -> None:
    """Print a row for each time that the cloud takes."""
    scenario = load_scenario(HERE / "example_household.yaml")
    pattern = "household_*.wav" if recordings == DEMO else "*.wav"
    files = sorted(recordings.glob(pattern))
    files = files[:2] if quick else files[:: -(-len(files) // MOST)]
    scenario = scenario.replace(utterances=[{"audio": str(file), "pause_s": 3.0} for file in files])
    ear, rows = prepare(scenario, load_chip(scenario.chip, scenario.chip_set)), []
    for cloud_ms in (60.0, 160.0):
        told = scenario.replace(cloud=scenario.cloud.replace(rerank_ms=cloud_ms))
        heard = follow(ear.for_scenario(told))
        tables = tabulate_stream(heard)
        h, latency = tables.headline, tables.latency.set_index("case")
        for case, row in latency.iterrows():
            rows.append({"cloud_ms": cloud_ms, "case": case, **row.to_dict(), "revoked": h["revoked"],
                         "revoked_bytes": h["revoked_bytes"], "uplink_bytes": h["uplink_bytes"]})  # fmt: skip
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.1f"))
    extra_uj = h["energy_uj"] - h["energy_without_speculation_uj"]
    print(f"\n{h['utterances']} utterances, {h['cut_off']} cut off, WER {100 * h['wer']:.2f} %")
    opus, raw = h["opus_over_lattice"], h["audio_over_lattice"]
    print(f"lattices {h['uplink_bytes']:,} B; as Opus {opus:.1f} times that, raw {raw:.1f} times")
    print(f"speculation costs {h['revoked_bytes']:,} B and {extra_uj:.1f} uJ of {h['energy_uj']:,.0f} uJ")


if __name__ == "__main__":
    typer.run(main)
