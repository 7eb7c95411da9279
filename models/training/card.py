"""A network's card: every figure in ``card.json``, and the page ``card.md`` made from it."""

import json
from pathlib import Path
from typing import Any

ATTRIBUTION = """# Licence of these weights

The files of this folder were trained on, or derived from, the recordings of the

> **Free Spoken Digit Dataset** by Zohar Jackson and contributors (speakers jackson, nicolas, theo,
> yweweler, george, lucas), <https://github.com/Jakobovski/free-spoken-digit-dataset>

which are under the Creative Commons Attribution-ShareAlike 4.0 International licence (CC BY-SA 4.0,
<https://creativecommons.org/licenses/by-sa/4.0/>). They stay under that licence: name the source and
pass them on under the same terms. What was done: the recordings were spliced into strings, disturbed
and turned into log-mel features; networks were trained on these. `calibration.npz` holds log-mel
features of 24 such strings (training takes and synthetic voices), and no recording.

The code of azsim, this repository's, is under Apache-2.0 and is not affected.
"""


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def word_error_table(float_rows: dict[str, Any], integer_rows: dict[str, Any]) -> list[str]:
    """Markdown rows of cohorts, float beside integer where both were measured."""
    lines = [
        "| set | WER %, float | 95 % interval | sub / del / ins | words | WER %, integer | words, integer |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in float_rows.items():
        low, high = row["interval_95"]
        integer = integer_rows.get(name)
        measured = f"{percent(integer['word_error_rate'])} | {integer['words']:,}" if integer else "- | -"
        lines.append(
            f"| {name} | {percent(row['word_error_rate'])} | {percent(low)} to {percent(high)} | "
            f"{row['substitutions']} / {row['deletions']} / {row['insertions']} | {row['words']:,} | {measured} |"
        )
    return lines


def arbitrator_lines(result: dict[str, Any]) -> list[str]:
    """What the arbitrator chooses, and how other ways to choose do at the same share."""
    lines = [
        "",
        "## The arbitrator",
        "",
        "| frames (held-out takes) | on the simple arm, % | frames |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {percent(row['simple'])} | {row['frames']:,} |" for name, row in result["simple_arm"].items()
    ]
    known = result["word_errors"]["known speakers, held-out takes"]
    rows = {"trained arbitrator": known} | result["controls"]
    lines += ["", "| choice of the arm | WER %, float | 95 % interval |", "|---|---|---|"]
    for name, row in rows.items():
        low, high = row["interval_95"]
        lines.append(f"| {name} | {percent(row['word_error_rate'])} | {percent(low)} to {percent(high)} |")
    lines += ["", ("The random choice and the energy gate (a threshold on a frame's log energy, set on the same "
              "recordings) use the simple arm on the same share of frames as the arbitrator.")]  # fmt: skip
    return lines


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    result, integer = card["float"], card["integer"] or {}
    lines = [
        f"# {card['name']}", "", card["summary"], "",
        "This page is made from `card.json`.", "",
        "| | |", "|---|---|",
        f"| data | {card['data']}; theo left out |",
        f"| licence of the weights | {card['licence']}, see `LICENSE.md` |",
        f"| command | `{card['command']}` |",
        f"| seed, steps | {card['seed']}, {card['steps']:,} |",
        f"| weights and biases | {card['weights']:,}, of which {card['matrix_weights']:,} in matrices |",
        f"| zeros by matrix | {min(card['zero_share'].values()):.0%} to {max(card['zero_share'].values()):.0%} |",
        *(f"| MACs, {name} | {macs:,.0f} |" for name, macs in card["macs"].items()),
        f"| blank penalty | {result['blank_penalty']} nats, tuned on takes 45-49 |",
        "", "## Word error rate", "",
        *word_error_table(result["word_errors"], integer.get("word_errors", {})), "",
        f"Without the blank penalty, known speakers: {percent(result['without_blank_penalty']['word_error_rate'])} %.",
        "Held-out takes are 0-4 of each digit, spliced 12 times over into strings of 3 to 7 digits; the interval is",
        "a bootstrap over strings and does not cover the choice of recordings or of the training seed.",
    ]  # fmt: skip
    if integer:
        lines += ["", f"Integer: {integer['note']}"]
    if "simple_arm" in result:
        lines += arbitrator_lines(result)
    return "\n".join(lines) + "\n"


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write card.json and card.md."""
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "card.md").write_text(page(card))
