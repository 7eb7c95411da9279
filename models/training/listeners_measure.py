"""Figures of the small networks: whispers found, voices told apart, and how soon the end is noticed.

A *listener* is any function from features float32[T, 192] to real outputs float[T, n], so that float
torch and the simulator's integers are measured by the same lines. Thresholds are set on the
development cohort with the integers, since these decide on a chip, and hold for both.

*End-pointer.* The final decision is the first frame whose logit is above its threshold; a fire
before the last sample of speech is a cut-off. The speculative one fires at each rise above its
threshold until the final decision falls; it may be withdrawn. A speculative fire counts as confirmed
where it comes after the end of speech and the final decision follows it. A lead is counted from
the first confirmed fire.

Source: equal-error rate as usual, by linear interpolation where the two error rates cross; Wilson's
score interval (1927), for an equal-error rate over the trials of the same speaker. It takes trials as
independent and covers neither the choice of the speakers nor the training seed.

Left out: a hold of several frames before a decision. Two to four gained the final decision 5 to 45 ms
at an equal cut-off rate in development, and cut off more of the paused sentences of voices never heard.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from azsim.execute.features import FeatureConfig, features
from azsim.execute.interpreter import Interpreter
from azsim.graph.network import Network
from azsim.weights.calibrate import calibrate
from azsim.weights.quantize import quantize
from models.listeners import Listener
from models.training.data import RATE_HZ, UNHEARD_SPEAKER, Utterance
from models.training.listeners_data import Cohorts, heard_at, is_whispered

Listen = Callable[[np.ndarray], np.ndarray]
Thresholds = dict[str, float]
Figures = dict[str, Any]
CUT_OFF_ALLOWED = 0.015  # of the development utterances, by the final decision
LEAD_WANTED_MS = 200.0
SPECULATIVE_GRID = np.linspace(0.3, 0.98, 80)  # quantiles of the speculative logit to try as thresholds


def float_listener(network: Listener) -> Listen:
    """Run the torch module."""

    @torch.no_grad()
    def listen(frames: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(frames)[:, None])[:, 0].numpy()

    return listen


def integer_listener(network: Network) -> Listen:
    """Run the quantized network in the integer interpreter."""
    if network.calibration is None:
        raise ValueError(f"{network.name}: has no calibration.npz; export it with models.training.listeners")
    quantized = quantize(network, calibrate(network, network.calibration), network.weight_bits)
    interpreter = Interpreter(quantized, {name: tensor.values for name, tensor in quantized.tensors.items()})

    def listen(frames: np.ndarray) -> np.ndarray:
        execution = interpreter.execute(frames)
        return execution.outputs.reshape(len(frames), -1) * execution.output_scale

    return listen


@dataclass(frozen=True)
class Heard:
    """An utterance with what a network put out for it, and the sample at which each frame was complete."""

    utterance: Utterance
    outputs: np.ndarray
    at: np.ndarray

    @property
    def after_end_ms(self) -> np.ndarray:
        """When each frame is complete, counted from the last sample of speech; float[T]."""
        return (self.at - self.utterance.end) / RATE_HZ * 1e3


def hear(listen: Listen, utterances: list[Utterance], config: FeatureConfig) -> list[Heard]:
    """Run a network on a cohort."""
    made = []
    for utterance in utterances:
        outputs = listen(features(utterance.samples, config))
        made.append(Heard(utterance, outputs, heard_at(len(outputs), config)))
    return made


def share(part: int, whole: int) -> float | None:
    """A share, None of nothing."""
    return part / whole if whole else None


def wilson(part: float, whole: int, z: float = 1.96) -> list[float] | None:
    """95 % interval of a share of independent trials; None of nothing."""
    if not whole:
        return None
    p, shrunk = part / whole, 1 + z * z / whole
    middle = (p + z * z / (2 * whole)) / shrunk
    half = z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole)) / shrunk
    return [max(0.0, middle - half), min(1.0, middle + half)]


def percentiles(values: list[float]) -> tuple[float | None, float | None]:
    """Median and 95th percentile; None of nothing."""
    if not values:
        return None, None
    return float(np.median(values)), float(np.quantile(values, 0.95))


# whisper detector


def tune_whisper(heard: list[Heard]) -> Thresholds:
    """The threshold on the mean logit with the fewest errors; the middle one of equals."""
    means = np.array([h.outputs.mean() for h in heard])
    wanted = np.array([is_whispered(h.utterance.speaker) for h in heard])
    tried = np.linspace(means.min(), means.max(), 401)
    errors = np.array([((means > threshold) != wanted).sum() for threshold in tried])
    best = tried[errors == errors.min()]
    return {"whispered": round(float(best[len(best) // 2]), 3)}


def detection(found: np.ndarray, wanted: np.ndarray) -> Figures:
    """Precision, recall, accuracy and false alarms of decisions bool[n]."""
    right, alarms = int((found & wanted).sum()), int((found & ~wanted).sum())
    correct = int((found == wanted).sum())
    return {
        "precision": share(right, int(found.sum())),
        "recall": share(right, int(wanted.sum())),
        "accuracy": share(correct, len(found)),
        "accuracy_interval_95": wilson(correct, len(found)),
        "false_alarm_rate": share(alarms, int((~wanted).sum())),
        "false_alarm_interval_95": wilson(alarms, int((~wanted).sum())),
    }


def whisper_figures(cohorts: dict[str, list[Heard]], thresholds: Thresholds) -> Figures:
    """Decisions over whole utterances, and over the frames up to the end of speech."""
    rows = {}
    for name, heard in cohorts.items():
        wanted = np.array([is_whispered(h.utterance.speaker) for h in heard])
        found = np.array([h.outputs.mean() > thresholds["whispered"] for h in heard])
        spoken = [h.outputs[h.after_end_ms <= 0, 0] > thresholds["whispered"] for h in heard]
        of_frame = np.repeat(wanted, [len(s) for s in spoken])
        counts = {"whispered": int(wanted.sum())}
        rows[f"{name}: utterances"] = {"number": len(heard), **counts, **detection(found, wanted)}
        by_frame = detection(np.concatenate(spoken), of_frame)
        figures = {key: value for key, value in by_frame.items() if "interval" not in key}  # frames are not independent
        rows[f"{name}: frames"] = {"number": len(of_frame), "whispered": int(of_frame.sum()), **figures}
    return rows


# speaker identification


def equal_error(same: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Equal-error rate of verification scores, and the threshold that has it.

    ``same`` are scores of trials with the enrolled speaker, ``other`` those of strangers; a score
    at or above the threshold accepts. Between two scores both error rates are taken to be straight.
    """
    if not len(same) or not len(other):
        raise ValueError(f"both kinds of trials must exist, but got {len(same)} of the same and {len(other)} of others")
    scores = np.unique(np.concatenate([same, other]))
    tried = np.concatenate([scores, [np.nextafter(scores[-1], np.inf)]])
    missed = np.searchsorted(np.sort(same), tried) / len(same)
    accepted = 1 - np.searchsorted(np.sort(other), tried) / len(other)
    after = int(np.argmax(missed >= accepted))  # at the last threshold all are missed and none accepted
    if missed[after] == accepted[after]:  # a whole stretch of thresholds may do: take its middle
        return float(missed[after]), float((tried[max(after - 1, 0)] + tried[after]) / 2)
    gap_before = accepted[after - 1] - missed[after - 1]
    weight = gap_before / (gap_before + missed[after] - accepted[after])
    rate = missed[after - 1] + weight * (missed[after] - missed[after - 1])
    return float(rate), float(tried[after - 1] + weight * (tried[after] - tried[after - 1]))


def voice(heard: list[Heard]) -> np.ndarray:
    """Directions of the mean embeddings of utterances; float[n, 32], of length 1."""
    means = np.array([h.outputs.mean(axis=0) for h in heard])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def trials(enrolled: list[Heard], tested: list[Heard]) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of every test utterance with every enrolled speaker, and where they are the same; [n, speakers]."""
    speakers = sorted({h.utterance.speaker for h in enrolled})
    models = np.array([voice([h for h in enrolled if h.utterance.speaker == s]).mean(axis=0) for s in speakers])
    models /= np.linalg.norm(models, axis=1, keepdims=True)
    is_same = np.array([[h.utterance.speaker == s for s in speakers] for h in tested])
    return voice(tested) @ models.T, is_same


def verification(enrolled: list[Heard], tested: list[Heard], threshold: float) -> Figures:
    """Equal-error rate with Wilson's interval, and both error rates at the shipped threshold."""
    scores, is_same = trials(enrolled, tested)
    rate = equal_error(scores[is_same], scores[~is_same])[0]
    n_same = int(is_same.sum())
    return {
        "speakers": scores.shape[1],
        "utterances": len(tested),
        "trials": scores.size,
        "same_speaker_trials": n_same,
        "equal_error_rate": rate,
        "equal_error_interval_95": wilson(rate * n_same, n_same),
        "missed_at_threshold": float((scores[is_same] < threshold).mean()),
        "accepted_at_threshold": float((scores[~is_same] >= threshold).mean()),
        "nearest_is_right": float(is_same[np.arange(len(tested)), scores.argmax(axis=1)].mean()),
    }


def tune_speaker(heard: list[Heard]) -> Thresholds:
    """The cosine of equal error, with every other development string enrolled and the rest tested."""
    scores, is_same = trials(heard[::2], heard[1::2])
    return {"same_speaker": round(equal_error(scores[is_same], scores[~is_same])[1], 3)}


def speaker_figures(cohorts: dict[str, list[Heard]], thresholds: Thresholds) -> Figures:
    """Verification among the speakers of training, and with one enrolled who was never heard."""
    known, tested = cohorts["development"], cohorts["humans, held-out takes"]
    everyone, everything = known + cohorts["theo, enrolment"], tested + cohorts["theo, never heard"]
    threshold = thresholds["same_speaker"]
    rows = {
        "five speakers of training": verification(known, tested, threshold),
        f"six speakers, {UNHEARD_SPEAKER} enrolled though never heard": verification(everyone, everything, threshold),
    }
    theo = verification(everyone, cohorts["theo, never heard"], threshold)
    rows[f"{UNHEARD_SPEAKER}'s strings against the six"] = theo
    return rows


# end-pointer


def fires(h: Heard, thresholds: Thresholds) -> tuple[int | None, list[int]]:
    """Frame of the final decision (None if it never falls), and those of the speculative one up to it."""
    above = h.outputs > np.array([thresholds["speculative"], thresholds["final"]])
    hits = np.flatnonzero(above[:, 1])
    final = int(hits[0]) if len(hits) else None
    until = len(above) if final is None else final + 1
    rises = np.flatnonzero(above[:until, 0] & ~np.concatenate([[False], above[: until - 1, 0]]))
    return final, [int(rise) for rise in rises]


def endpoint_figures(heard: list[Heard], thresholds: Thresholds) -> Figures:
    """How soon, how often too soon, and what the speculative decision is worth."""
    final_ms, speculative_ms, lead_ms = [], [], []
    cut_off = early = never = fired = confirmed = 0
    for h in heard:
        final, rises = fires(h, thresholds)
        ms = h.after_end_ms
        fired += len(rises)
        early += any(ms[rise] < 0 for rise in rises)
        if final is None:
            never += 1
        elif ms[final] < 0:
            cut_off += 1
        else:
            final_ms.append(float(ms[final]))
            right = [rise for rise in rises if ms[rise] >= 0]
            confirmed += len(right)
            if right:
                speculative_ms.append(float(ms[right[0]]))
                lead_ms.append(float(ms[final] - ms[right[0]]))
    rows: Figures = {"utterances": len(heard)}
    named = {"final_delay": final_ms, "speculative_delay": speculative_ms, "lead": lead_ms}
    for name, values in named.items():
        rows[f"{name}_p50_ms"], rows[f"{name}_p95_ms"] = percentiles(values)
    return rows | {
        "cut_off_rate": share(cut_off, len(heard)),
        "cut_off_interval_95": wilson(cut_off, len(heard)),
        "never_fired_rate": share(never, len(heard)),
        "speculative_fires": fired,
        "speculative_precision": share(confirmed, fired),
        "speculative_too_early_rate": share(early, len(heard)),
        "without_lead_rate": share(len(final_ms) - len(lead_ms), len(final_ms)),
    }


def tune_endpointer(heard: list[Heard]) -> Thresholds:
    """The lowest final threshold that cuts off few enough, then the speculative one with the lead that is wanted."""
    highest = [h.outputs[h.after_end_ms < 0, 1].max(initial=-np.inf) for h in heard]
    allowed = int(CUT_OFF_ALLOWED * len(heard))
    final = round(float(np.sort(highest)[len(heard) - 1 - allowed]) + 5e-4, 3)
    tried = [
        round(float(t), 3) for t in np.quantile(np.concatenate([h.outputs[:, 0] for h in heard]), SPECULATIVE_GRID)
    ]
    best: tuple[float, float, float] | None = None
    for threshold in tried:
        figures = endpoint_figures(heard, {"speculative": threshold, "final": final})
        lead, precision = figures["lead_p50_ms"], figures["speculative_precision"]
        if lead is not None and precision is not None:
            candidate = (abs(lead - LEAD_WANTED_MS), -precision, threshold)
            best = candidate if best is None else min(best, candidate)
    if best is None:
        raise ValueError("no speculative threshold leads the final decision on the development cohort; train longer")
    return {"speculative": best[2], "final": final}


def endpointer_figures(cohorts: dict[str, list[Heard]], thresholds: Thresholds) -> Figures:
    """The same figures for every cohort."""
    return {name: endpoint_figures(heard, thresholds) for name, heard in cohorts.items()}


TUNE = {"whisper_detector": tune_whisper, "speaker_id": tune_speaker, "endpointer": tune_endpointer}
FIGURES = {"whisper_detector": whisper_figures, "speaker_id": speaker_figures, "endpointer": endpointer_figures}


def hear_all(listen: Listen, cohorts: Cohorts, config: FeatureConfig) -> dict[str, list[Heard]]:
    """Run a network on every cohort."""
    return {name: hear(listen, utterances, config) for name, utterances in cohorts.items()}
