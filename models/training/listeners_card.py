"""Cards of the small networks: every figure in ``card.json``, and the page ``card.md`` made from it.

Every figure is a number under a name that says its unit: ``_ms``, a count, or a share, which the page
shows in percent. ``None`` is a share of nothing.
"""

import json
from pathlib import Path
from typing import Any

from models.listeners import Listener
from models.training.prune import matrices

HUMANS = "Free Spoken Digit Dataset (takes 5-44 of five speakers, theo left out)"
SYNTHETIC = "espeak-ng saying the household commands in 56 voices"
ABOUT: dict[str, dict[str, Any]] = {
    "whisper_detector": {
        "data": f"{HUMANS}; {SYNTHETIC}, and whisperf in five of these accents; half of the utterances whispered",
        "decision": "An utterance is whispered where the mean of its logits is above the threshold.",
        "limits": [
            "No human whisper was at hand: every whisper, in training and here, is espeak-ng's, which replaces the "
            "voice by noise and nothing else. How many human whispers it finds is not known.",
            "Accents are held out, the two whispering variants are not: espeak-ng has no others.",
            "Humans measure false alarms only: six male speakers, digits, with noise added 30 dB below.",
        ],
    },
    "speaker_id": {
        "data": f"{HUMANS}; {SYNTHETIC}",
        "decision": "A speaker is who was enrolled where the cosine of the mean embedding of an utterance with the "
        "mean of the enrolled strings is at or above the threshold.",
        "limits": [
            "Six male speakers are few; a rate from them says little about a family, and nothing about women or "
            "children.",
            "Each speaker's recordings have a level and a noise floor of their own (levels lie up to 17 dB apart), so "
            "what tells them apart is partly the recording. Training varies level and microphone curve, not the noise "
            "inside a recording.",
            "Each speaker has 50 recordings to enrol with and 50 to test with, spliced six times over; strings "
            "share recordings, and the interval takes trials as independent.",
            "The words are the ten digits, in enrolment as in the test.",
        ],
    },
    "endpointer": {
        "data": f"{HUMANS}, a quarter of the strings; {SYNTHETIC}, a third of the sentences with a pause of 150 to "
        "600 ms; quiet of 1.5 to 2 s after each, noise over all",
        "decision": "The first frame whose logit is above its threshold; a speculative fire may be withdrawn until "
        "the final one falls.",
        "limits": [
            "Pauses inside sentences are espeak-ng's own breaks, of at most 600 ms and at a random place; people "
            "hesitate longer, and elsewhere.",
            "Test sentences are of the same grammar as training's, with other phrases.",
            "Human strings are single recordings spliced with 30 to 300 ms between them: where the string ends, "
            "their intonation does not say.",
            "White noise only, 20 dB (synthetic) and 30 dB (human) below the speech; no other talkers.",
            "Quiet recordings are noticed late: theo's strings lie at -48 dBFS, below the levels this network was "
            "trained on. Training on quieter ones as well was tried: his strings then ended later still, or never.",
        ],
    },
}


def about_card(
    network: Listener, name: str, command: str, kept: dict[str, Any], thresholds: dict[str, float]
) -> dict[str, Any]:
    """What a card says before its figures."""
    pruned = matrices(network)
    return {
        "name": name,
        "summary": network.kind.summary,
        "licence": "CC BY-SA 4.0",
        **ABOUT[name],
        "command": command,
        "seed": kept["seed"],
        "steps": kept["steps"],
        "weights": sum(p.numel() for p in network.parameters()),
        "matrix_weights": sum(p.numel() for p in pruned.values()),
        "zero_share": {key: round(float((p == 0).float().mean()), 4) for key, p in pruned.items()},
        "macs": {"step, per frame": network.kind.macs_per_frame},
        "thresholds": thresholds,
    }


def shown(name: str, value: Any) -> str:
    """A figure as text, in the unit that its name says."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return " to ".join(f"{100 * v:.2f}" for v in value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.0f}" if name.endswith("_ms") else f"{100 * value:.2f}"


def label(name: str, value: Any) -> str:
    """A figure's name for the page."""
    text = name.removesuffix("_ms").replace("_", " ").replace("interval 95", "95 % interval")
    if name.endswith("_ms"):
        return f"{text}, ms"
    return text if isinstance(value, int) else f"{text}, %"


def figure_table(rows: dict[str, dict[str, Any]], integer: dict[str, dict[str, Any]]) -> list[str]:
    """A table for each cohort: float beside integer."""
    lines = []
    for cohort, figures in rows.items():
        lines += ["", f"### {cohort}", "", "| | float | integer |", "|---|---|---|"]
        for name, value in figures.items():
            other = integer[cohort][name]
            kind = value if value is not None else other
            lines.append(f"| {label(name, kind)} | {shown(name, value)} | {shown(name, other)} |")
    return lines


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    thresholds = ", ".join(f"{name} {value}" for name, value in card["thresholds"].items())
    lines = [
        f"# {card['name']}", "", card["summary"], "",
        "This page is made from `card.json`.", "",
        "| | |", "|---|---|",
        f"| data | {card['data']} |",
        f"| licence of the weights | {card['licence']}, see `LICENSE.md` |",
        f"| command | `{card['command']}` |",
        f"| seed, steps | {card['seed']}, {card['steps']:,} |",
        f"| weights and biases | {card['weights']:,}, of which {card['matrix_weights']:,} in matrices |",
        f"| zeros by matrix | {min(card['zero_share'].values()):.0%} to {max(card['zero_share'].values()):.0%} |",
        *(f"| MACs, {name} | {macs:,} |" for name, macs in card["macs"].items()),
        f"| thresholds | {thresholds} |",
        "", card["decision"], "",
        "Thresholds were set on the development set in integers and hold for both columns; integers are those of",
        "azsim, 8-bit weights and int8 activations.",
        "", "## Limits", "",
        *(f"- {limit}" for limit in card["limits"]),
        "", "## Figures",
        *figure_table(card["float"], card["integer"]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write card.json and card.md."""
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "card.md").write_text(page(card))
