"""Make the demo utterances: digit strings and spoken commands in synthetic voices, which the project may ship.

    python -m models.training.demo --out models/demo

The voices were held out of training. The strings were chosen among a few because both shipped
networks get them right: they show what a run looks like and are no measure of the word error rate,
which is in the networks' cards. The commands were written down before any network had heard them, in voices
held out of training too, two with a pause inside, with noise at 25 dB as of a room.
"""

import json
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from models.training.data import add_noise
from models.training.espeak import RATE_HZ, Spoken, speak, trim

UTTERANCES = {
    "digits_1": Spoken("en-gb-scotland+f4", "three, one four, one five", 140),
    "digits_2": Spoken("en-029+f5", "nine, eight seven, six five", 140),
    "digits_3": Spoken("en-gb-scotland+f5", "two, seven one, eight two", 140),
}
COMMANDS = {
    "household_1": Spoken("en-gb-scotland+f4", "turn on the kitchen lights", 150),
    "household_2": Spoken("en-029+m8", 'set a timer for <break time="450ms"/> forty five minutes', 150),
    "household_3": Spoken("en-gb-scotland+m8", "play some jazz music", 140),
    "household_4": Spoken("en-029+f5", "dim the bedroom lights to thirty percent", 150),
    "household_5": Spoken("en-gb-scotland+f5", 'remind me to call grandma <break time="500ms"/> in the evening', 150),
    "household_6": Spoken("en-gb-scotland+whisper", "is the front door locked", 140),
}
QUIET_S, LEVEL = 0.3, 0.5  # silence on both ends; largest sample
ROOM_SNR_DB = 25.0


def main(out: Annotated[Path, typer.Option(help="folder for the recordings")] = Path("models/demo")) -> None:
    """Write a 16 kHz mono WAV file and its transcript per utterance, and demo.json with voices and commands."""
    about = []
    quiet = np.zeros(int(QUIET_S * RATE_HZ), np.float32)
    for name, spoken in (UTTERANCES | COMMANDS).items():
        samples = trim(speak(spoken)) if name in COMMANDS else speak(spoken)
        samples = np.concatenate([quiet, samples * LEVEL / np.abs(samples).max(), quiet])
        done = "level and silence"
        if name in COMMANDS:
            samples = add_noise(samples, np.random.default_rng(sum(map(ord, name))), ROOM_SNR_DB)
            done = f"level, silence and noise at {ROOM_SNR_DB:g} dB"
        soundfile.write(out / f"{name}.wav", samples, RATE_HZ, subtype="PCM_16")
        said = " ".join(re.sub("<[^>]*>|,", " ", spoken.text).split())
        (out / f"{name}.txt").write_text(said + "\n")
        command = " ".join([*spoken.command, "-w", "spoken.wav", f"'{spoken.text}'"])
        about.append({
            "file": f"{name}.wav", "transcript": said, "voice": spoken.voice,
            "command": command, "then": f"resampled to {RATE_HZ} Hz, {done} set by {Path(__file__).name}",
        })  # fmt: skip
    (out / "demo.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
