"""Make the demo utterances: digit strings in synthetic voices, which the project may ship.

    python -m models.training.demo --out models/demo

The voices were held out of training. The strings were chosen among a few because both shipped
networks get them right: they show what a run looks like and are no measure of the word error rate,
which is in the networks' cards.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from models.training.espeak import RATE_HZ, Spoken, speak

UTTERANCES = {
    "digits_1": Spoken("en-gb-scotland+f4", "three, one four, one five", 140),
    "digits_2": Spoken("en-029+f5", "nine, eight seven, six five", 140),
    "digits_3": Spoken("en-gb-scotland+f5", "two, seven one, eight two", 140),
}
QUIET_S, LEVEL = 0.3, 0.5  # silence on both ends; largest sample


def main(out: Annotated[Path, typer.Option(help="folder for the recordings")] = Path("models/demo")) -> None:
    """Write a 16 kHz mono WAV file and its transcript per utterance, and demo.json with voices and commands."""
    about = []
    quiet = np.zeros(int(QUIET_S * RATE_HZ), np.float32)
    for name, spoken in UTTERANCES.items():
        samples = speak(spoken)
        samples = np.concatenate([quiet, samples * LEVEL / np.abs(samples).max(), quiet])
        soundfile.write(out / f"{name}.wav", samples, RATE_HZ, subtype="PCM_16")
        (out / f"{name}.txt").write_text(spoken.text.replace(",", "") + "\n")
        command = " ".join([*spoken.command, "-w", "spoken.wav", f'"{spoken.text}"'])
        about.append({
            "file": f"{name}.wav", "transcript": spoken.text.replace(",", ""), "voice": spoken.voice,
            "command": command, "then": f"resampled to {RATE_HZ} Hz, level and silence set by {Path(__file__).name}",
        })  # fmt: skip
    (out / "demo.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
