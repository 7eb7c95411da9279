"""What the figures of a stream say, in words: each sentence is worked out from the tables."""

import pandas as pd

from azsim.listen import Heard
from azsim.report.page import scaled
from azsim.report.quantity import figure as digits
from azsim.report.stream_tables import StreamTables
from azsim.stream.books import WAITED_FOR

WAITS_FOR = {
    "queue": "its own frames before it",
    "chip": "the chip, busy with other networks",
    "wake_up": "the chip to wake up",
    "cold": "weights that other networks threw out of the tile slots",
    "dram": "background traffic on the DRAM",
    "host": "the host core",
}


def sentences(heard: Heard, tables: StreamTables) -> dict[str, str]:
    """A sentence or two for each part of the page."""
    return {
        "speculation": speculation(heard, tables),
        "deadlines": deadlines(tables.networks),
        "waits": waits(tables.waits),
        "backlog": backlog(tables.networks),
        "energy": energy(tables),
        "states": states(tables.states),
        "uplink": uplink(tables),
        "utilization": utilization(tables.utilization),
    }


def speculation(heard: Heard, tables: StreamTables) -> str:
    """What speculation gained and what it cost."""
    h, latency, scenario = tables.headline, tables.latency, heard.scenario
    if not h["utterances"]:
        return "Nothing was answered, so nobody waited for an answer."
    if pd.isna(latency.mean_ms.iloc[0]):
        return "A network on the way to the answer falls behind: the wait would grow with the length of the stream."
    if scenario.named("endpointer") is None:
        return "Nothing is speculated about, as no network decides early that the person has finished."
    if heard.plain is heard.stream:
        return f"{latency['case'].iloc[0].capitalize()} the person waits {latency.mean_ms.iloc[0]:,.0f} ms on average."
    gained, p95 = (float(latency[f"{what}_ms"].iloc[-1] - latency[f"{what}_ms"].iloc[0]) for what in ("mean", "p95"))
    more = h["energy_uj"] - h["energy_without_speculation_uj"]
    radio = h["revoked_bytes"] * scenario.uplink.uj_per_byte
    cost = "No start had to be revoked, so that no byte was sent in vain"
    if h["revoked"]:
        starts = f"{h['revoked']:,} start{'s' if h['revoked'] > 1 else ''}"
        cost = (
            f"For that {starts} had to be revoked: {h['revoked_bytes']:,} B were sent in vain, which cost the radio "
            f"{scaled(radio * 1e-6, 'J')}"
        )
    return (
        f"Speculation brings the answer {_gain(gained)} on average and {_gain(p95)} at the 95th percentile. {cost}. "
        f"The stream as a whole takes {_change(more)} than without speculation."
    )


def _gain(ms: float) -> str:
    if abs(ms) < 0.05:
        return "no sooner"
    return f"{abs(ms):,.4g} ms {'sooner' if ms > 0 else 'later'}"


def _change(uj: float) -> str:
    if abs(uj) < 1e-6:
        return "no more energy"
    return f"{scaled(abs(uj) * 1e-6, 'J')} {'more' if uj > 0 else 'less'}"


def deadlines(networks: pd.DataFrame) -> str:
    """Who was late, and by how much the most punctual one is not."""
    late = networks[networks.deadline_misses > 0].sort_values("deadline_misses", ascending=False)
    if late.empty:
        return "Every frame of every network met its deadline."
    parts = [
        f"{row.network} was late with {row.deadline_misses:,} of {row.frames_out:,} frames" for row in late.itertuples()
    ]
    others = "" if len(late) == len(networks) else " The others met every deadline."
    return f"{_and(parts)}.{others}"


def waits(table: pd.DataFrame) -> str:
    """Which network waits most, and for what."""
    causes = [f"{cause}_us" for cause in WAITED_FOR]
    total = table[causes].sum(axis=1)
    if table.empty or total.max() <= 0:
        return "No frame waits for anything."
    row = table.loc[total.idxmax()]
    cause = max(WAITED_FOR, key=lambda name: row[f"{name}_us"])
    return (
        f"{row.network} waits most, {digits(float(total.max()))} µs a frame, and most of that "
        f"({digits(float(row[f'{cause}_us']))} µs) for {WAITS_FOR[cause]}."
    )


def backlog(networks: pd.DataFrame) -> str:
    """Who has frames in the queue, and whether the queue grows."""
    behind = list(networks[networks.is_overloaded].network)
    worst = networks.loc[networks.largest_backlog.idxmax()]
    if behind:
        return f"{_and(behind)} cannot keep up: the backlog at the ends of utterances does not go back to nothing."
    if worst.largest_backlog <= 1:
        return "Every frame was done before the next one of its network came."
    return f"At worst {worst.largest_backlog:,} frames of {worst.network} wait; nobody falls behind."


def energy(tables: StreamTables) -> str:
    """What an utterance costs, and its two largest parts."""
    h, parts = tables.headline, tables.energy
    total = float(parts.uj.sum())
    largest = [f"{row.component.replace('_', ' ')} {100 * row.uj / total:.0f} %" for row in parts.head(2).itertuples()]
    low, high = (float(parts[f"{side}_uj"].sum()) / max(1, h["utterances"]) for side in ("low", "high"))
    return (
        f"An utterance takes {scaled(h['energy_per_utterance_uj'] * 1e-6, 'J')} ({scaled(low * 1e-6, 'J')} to "
        f"{scaled(high * 1e-6, 'J')} by the bands of the coefficients), the pause after it included. Of that "
        f"{_and(largest)}."
    )


def states(table: pd.DataFrame) -> str:
    """In which power state the time passes, and in which the energy goes."""
    uj = table.standing_uj + table.work_uj
    longest, dearest = table.loc[table.share.idxmax()], table.loc[uj.idxmax()]
    total = float(uj.sum()) or 1.0
    if longest.state == dearest.state:
        return (
            f"{_in(longest)} {100 * longest.share:.1f} % of the time and {100 * uj.max() / total:.0f} % of the energy."
        )
    return (
        f"{_in(longest)} {100 * longest.share:.1f} % of the time, but only {100 * uj[longest.name] / total:.0f} % of "
        f"the energy; {100 * uj.max() / total:.0f} % goes {_while(dearest)}, {100 * dearest.share:.1f} % of the time."
    )


def _in(row: pd.Series) -> str:
    return {"run": "The chip runs for", "gated": "The chip is clock-gated for"}.get(
        row.state, "The chip is in retention for"
    )


def _while(row: pd.Series) -> str:
    return {"run": "while it runs", "gated": "while it is clock-gated and waits"}.get(row.state, "in retention")


def uplink(tables: StreamTables) -> str:
    """Lattices against audio."""
    h = tables.headline
    if not h["uplink_bytes"]:
        return "Nothing was sent."
    return (
        f"The lattices took {h['uplink_bytes']:,} B, {digits(h['uplink_bytes'] / h['utterances'])} B an utterance; the "
        f"audio would have been {digits(h['opus_over_lattice'])} times as much with Opus and "
        f"{digits(h['audio_over_lattice'])} times raw."
    )


def utilization(table: pd.DataFrame) -> str:
    """The busiest part."""
    row = table.loc[table.utilization.idxmax()]
    part = {"DRAM, networks": "DRAM, by the networks", "DRAM, background": "DRAM, by others"}.get(
        row.part, f"the {row.part}"
    )
    return f"The busiest part is {part}, for {100 * row.utilization:.2g} % of the time."


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
