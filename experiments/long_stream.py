"""How fast is an hour of a household simulated, and does its memory grow with it?

Expected: frames cost some ten microseconds each, so an hour with pauses in it takes well under a minute; recordings
are executed once, sums do not grow, and rows go to disk, so the memory is that of ten minutes.

Method: the scenario's list of utterances is repeated for ten minutes and then for an hour, each in a process of its
own, and every frame of every network is written to disk while it runs.

Saw: 165 simulated seconds in a second, 102 with loading and execution; 256,000 frames; memory of an hour over ten
minutes 1.000.

    python experiments/long_stream.py [SCENARIO]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

from azsim.listen import listen
from azsim.stream import load_scenario

DEFAULT = Path(__file__).parent / "example_household.yaml"


def run(file: Path, seconds: float, is_quick: bool) -> dict[str, float]:
    """Simulate a scenario for so many seconds; figures of this process."""
    scenario = load_scenario(file)
    if is_quick:
        cloud = scenario.cloud.replace(language_model=None)
        scenario = scenario.replace(utterances=scenario.utterances[:1], cloud=cloud)
    once_s = sum(soundfile.info(spoken.audio).duration + spoken.pause_s for spoken in scenario.utterances)
    scenario = scenario.replace(repeat=max(1, round(seconds / once_s)))
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.csv"
        heard = listen(scenario, frames_csv=frames, is_compared=False)
        rows = sum(1 for _ in frames.open()) - 1
    return {
        "simulated_s": heard.seconds,
        "took_s": time.perf_counter() - begun,
        "stream_s_per_s": heard.simulated_s_per_s["stream"],
        "all_s_per_s": heard.simulated_s_per_s["both"],
        "frames": rows,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print a column for ten minutes and one for an hour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--quick", action="store_true", help="one utterance, for one minute and two")
    options = parser.parse_args()
    file, rows = options.scenario, []
    short, long = (60.0, 120.0) if options.quick else (600.0, 3600.0)
    for seconds in (short, long):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(run, file, seconds, options.quick).result())
    for name in rows[0]:
        print(f"{name:20} " + " ".join(f"{row[name]:14,.1f}" for row in rows))
    print(f"memory of {long:.0f} s over {short:.0f} s: {rows[1]['peak_memory_mib'] / rows[0]['peak_memory_mib']:.3f}")


if __name__ == "__main__":
    main()
