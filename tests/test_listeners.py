"""The networks that listen beside the recognizer: what they learn from, what their cards say, what was stored."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from azsim.execute.features import FeatureConfig, features, load_audio
from azsim.graph.network import Network, load_network
from models.listeners import KINDS, Listener, steps
from models.training import espeak
from models.training import listeners_measure as measure
from models.training.data import KNOWN_SPEAKERS, RATE_HZ, Clip, Utterance
from models.training.export import largest_difference
from models.training.listeners_card import page
from models.training.listeners_data import (
    HELD_OUT_ACCENTS,
    IGNORED,
    EndpointerCorpus,
    SpeakerCorpus,
    WhisperCorpus,
    extend_tail,
    finished_labels,
    heard_at,
    is_whispered,
    vary_microphone,
    voice_of,
)
from models.training.prune import matrices

MODELS = Path(__file__).parents[1] / "models"
CONFIG = FeatureConfig()
SHIPPED = [name for name in sorted(KINDS) if (MODELS / "zoo" / name / "network.json").exists()]
WHISPERED = Clip(np.full(RATE_HZ, 0.1, np.float32), (0,), "en-us+whisper", RATE_HZ)
VOICED = Clip(np.full(RATE_HZ, 0.1, np.float32), (1,), "en-us+m1", RATE_HZ)


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    """Folder, card and the torch network with the stored weights."""
    folder = MODELS / "zoo" / request.param
    network = Listener(KINDS[request.param])
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return folder, json.loads((folder / "card.json").read_text()), network.eval()


def corpus_of(kind, *clips):
    """A training corpus of a few clips, without recordings or espeak-ng."""
    corpus = object.__new__(kind)
    corpus.config, corpus.seed, corpus.any_level, corpus.fsdd = CONFIG, 1, True, {}
    corpus.sentences = {clip.speaker: [clip] for clip in clips}
    corpus.by_length, corpus.voices, corpus.word_counts = {1: list(clips)}, corpus.sentences, (1,)
    for speaker in KNOWN_SPEAKERS:
        for digit in range(10):
            corpus.fsdd |= {(speaker, digit, take): Clip(np.ones(800), (digit,), speaker, 8000) for take in range(50)}
    return corpus


# What they learn from


def test_a_frame_is_heard_when_its_last_window_is():
    # Three windows of 25 ms, 10 ms apart: 45 ms; the next frame 30 ms later.
    np.testing.assert_array_equal(heard_at(3, CONFIG), [45 * 16, 75 * 16, 105 * 16])


@pytest.mark.parametrize(("output", "after_ms"), [(0, 90), (1, 300)])
def test_a_label_turns_at_the_first_frame_heard_that_long_after_speech(output, after_ms):
    # Frame 20 is complete at 45 + 20 * 30 = 645 ms. Speech that ends `after_ms` before that just reaches it.
    end = (645 - after_ms) * 16
    assert finished_labels(end, 40, CONFIG)[19:21, output].tolist() == [0.0, 1.0]
    # Ending one sample later, frame 20 is one sample too early, and frame 21 is the first.
    assert finished_labels(end + 1, 40, CONFIG)[20:22, output].tolist() == [0.0, 1.0]


def test_nothing_is_finished_before_the_end_of_speech():
    labels = finished_labels(RATE_HZ, 60, CONFIG)
    assert not labels[heard_at(60, CONFIG) < RATE_HZ].any()
    assert labels[-1].tolist() == [1.0, 1.0]


def test_the_tail_goes_on_at_the_level_that_stands_there():
    rng = np.random.default_rng(3)
    speech, floor = np.full(8000, 0.5, np.float32), 0.01 * rng.standard_normal(4000).astype(np.float32)
    longer = extend_tail(Utterance(np.concatenate([speech, floor]), (1,), (), "x", end=8000), rng)
    added = longer.samples[12_000:]
    assert 1.5 * RATE_HZ <= len(longer.samples) - 8000 <= 2.0 * RATE_HZ
    # The level of 4,000 samples of noise is known to about 1 / sqrt(8000) = 1.1 %.
    assert np.sqrt(np.square(added).mean()) == pytest.approx(0.01, rel=0.06)


def test_a_quiet_of_zeros_stays_zero_until_the_noise_of_training_is_added():
    still = Utterance(np.concatenate([np.ones(800), np.zeros(800)]).astype(np.float32), (1,), (), "x", end=800)
    assert not extend_tail(still, np.random.default_rng(1)).samples[800:].any()


def test_the_end_pointer_trains_on_a_long_quiet_after_the_last_word():
    corpus = corpus_of(EndpointerCorpus, VOICED)
    utterance = corpus.draw(np.random.default_rng(2))
    assert len(utterance.samples) - utterance.end >= 1.5 * RATE_HZ
    labels = corpus.target(utterance, 100)
    assert labels[0].tolist() == [0.0, 0.0]
    assert labels[-1].tolist() == [1.0, 1.0]


def test_a_whisper_is_asked_for_only_from_where_speech_begins():
    corpus = corpus_of(WhisperCorpus, WHISPERED, VOICED)
    # Speech begins at 75 ms; the frame complete just then has heard none of it.
    samples = np.concatenate([np.zeros(75 * 16), np.ones(8000)]).astype(np.float32)
    for speaker, answer in (("en-us+whisper", 1.0), ("theo", 0.0)):
        target = corpus.target(Utterance(samples, (0,), (), speaker), 5)
        assert target[:, 0].tolist() == [IGNORED, IGNORED, answer, answer, answer]


def test_half_of_what_the_whisper_detector_hears_is_whispered():
    corpus, rng = corpus_of(WhisperCorpus, WHISPERED, VOICED), np.random.default_rng(5)
    whispered = sum(corpus.draw(rng).speaker == WHISPERED.speaker for _ in range(400))
    assert abs(whispered - 200) < 40  # four standard deviations of 400 coins


def test_theo_is_no_training_speaker_and_every_other_has_a_number():
    corpus, rng = corpus_of(SpeakerCorpus, WHISPERED, VOICED), np.random.default_rng(5)
    assert "theo" not in corpus.speakers
    numbers = {corpus.target(corpus.draw(rng), 1)[0, 0] for _ in range(200)}
    assert numbers == set(range(len(KNOWN_SPEAKERS) + 2))


def test_the_accent_after_which_espeak_drops_the_variant_is_one_voice_and_never_whispers():
    assert voice_of("en-gb+whisper") == voice_of("en-gb+m1") == "en-gb"
    assert voice_of("en-gb-x-rp+whisper") == "en-gb-x-rp+whisper"
    assert [is_whispered(s) for s in ("en-gb+whisperf", "en-gb-x-rp+whisperf", "en-us+m1", "theo")] == [
        False, True, False, False,
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_espeak_heeds_the_whisper_in_every_other_accent():
    for accent in (*espeak.HEARD_ACCENTS, *HELD_OUT_ACCENTS):
        voiced, whispered = (espeak.speak(espeak.Spoken(f"{accent}+{v}", "ten")) for v in ("m1", "whisper"))
        assert np.array_equal(voiced, whispered) != is_whispered(f"{accent}+whisper"), accent


def test_a_padded_batch_asks_nothing_where_an_utterance_is_over():
    batch = corpus_of(EndpointerCorpus, VOICED)[0]
    assert batch.frames.shape[:2] == batch.targets.shape[:2]
    over = batch.targets[:, :, 0] == IGNORED
    assert over.any()
    assert not batch.frames[over].any()


def test_another_microphone_adds_one_curve_to_every_window():
    bands = np.random.default_rng(1).standard_normal((7, 64)).astype(np.float32)
    added = vary_microphone(bands, np.random.default_rng(2)) - bands
    assert np.ptp(added, axis=0).max() < 1e-5
    assert np.abs(added[0]).max() > 0.1


# How they are measured


@pytest.mark.parametrize(
    ("same", "other", "rate"),
    [
        ([0.8, 0.9], [0.1, 0.2], 0.0),  # apart
        ([0.1, 0.2], [0.8, 0.9], 1.0),  # the wrong way round
        ([0.4, 0.9], [0.1, 0.6], 0.5),  # between 0.4 and 0.6 one of two is missed and one of two accepted
        ([0.3, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.65], 0.25),  # above 0.3 up to 0.6: one of four each
        # One speaker's score among three strangers'. At 0.5 nothing is missed, at 0.6 all is; one in three is
        # accepted at both. From (0, 1/3) to (1, 1/3) the rates meet at 1/3.
        ([0.5], [0.1, 0.2, 0.6], 1 / 3),
    ],
)
def test_the_equal_error_rate_is_where_misses_meet_false_accepts(same, other, rate):
    assert measure.equal_error(np.array(same), np.array(other))[0] == pytest.approx(rate)


def test_scores_that_are_apart_have_a_threshold_half_way():
    assert measure.equal_error(np.array([0.6, 0.9]), np.array([0.1, 0.4]))[1] == pytest.approx(0.5)


def test_an_equal_error_rate_needs_both_kinds_of_trials():
    with pytest.raises(ValueError, match="0 of the same"):
        measure.equal_error(np.array([]), np.array([0.5]))


def test_wilson_of_nothing_found_is_z_squared_over_n_plus_z_squared():
    assert measure.wilson(0, 10) == pytest.approx([0.0, 1.96**2 / (10 + 1.96**2)])
    assert measure.wilson(0, 0) is None


def heard(outputs, end_ms, speaker="x"):
    """An utterance whose speech ends at ``end_ms``; frames are complete at 45, 75, 105, ... ms."""
    outputs = np.array(outputs, float)
    end = end_ms * RATE_HZ // 1000
    return measure.Heard(Utterance(np.zeros(1), (), (), speaker, end=end), outputs, heard_at(len(outputs), CONFIG))


ABOVE_ZERO = {"speculative": 0.0, "final": 0.0}


def test_the_speculative_decision_may_be_withdrawn_until_the_final_one_falls():
    h = heard([[1, -1], [-1, -1], [0, 0], [1, -1], [1, 1], [-1, 1], [1, 1]], end_ms=105)
    # It rises at frames 0 and 3; 0 is not above the threshold, and after frame 4 nothing counts.
    assert measure.fires(h, ABOVE_ZERO) == (4, [0, 3])


def test_delays_count_from_the_end_of_speech_and_a_lead_from_the_confirmed_fire():
    h = heard([[1, -1], [-1, -1], [-1, -1], [1, -1], [1, 1]], end_ms=105)
    figures = measure.endpoint_figures([h], ABOVE_ZERO)
    # Frame 3 is complete at 135 ms and frame 4 at 165 ms; speech ended at 105 ms.
    assert (figures["speculative_delay_p50_ms"], figures["final_delay_p50_ms"]) == (30.0, 60.0)
    assert figures["lead_p50_ms"] == 30.0
    assert (figures["speculative_fires"], figures["speculative_precision"]) == (2, 0.5)
    assert figures["speculative_too_early_rate"] == 1.0
    assert figures["cut_off_rate"] == figures["never_fired_rate"] == figures["without_lead_rate"] == 0.0


@pytest.mark.parametrize(("end_ms", "cut_off"), [(75, 0.0), (76, 1.0)])
def test_a_fire_one_millisecond_before_the_end_cuts_off_and_one_at_the_end_does_not(end_ms, cut_off):
    h = heard([[-1, -1], [-1, 1], [-1, 1]], end_ms)  # frame 1 is complete at 75 ms
    assert measure.endpoint_figures([h], ABOVE_ZERO)["cut_off_rate"] == cut_off


def test_a_decision_that_never_falls_is_counted():
    figures = measure.endpoint_figures([heard([[-1, -1]] * 4, 45)], ABOVE_ZERO)
    assert figures["never_fired_rate"] == 1.0
    assert figures["final_delay_p50_ms"] is None


def test_the_final_threshold_lets_through_as_many_cut_offs_as_are_allowed():
    # 200 utterances, and in utterance n the final logit reaches n / 10 while speech goes on. Allowed are
    # 1.5 %, three of 200: the threshold must lie between those of the fourth and the third highest.
    made = [heard([[-9, -9], [-9, n / 10], [-9, -9], [50, -9], [50, 50]], end_ms=105) for n in range(200)]
    thresholds = measure.tune_endpointer(made)
    assert 19.6 <= thresholds["final"] < 19.7
    assert measure.endpoint_figures(made, thresholds)["cut_off_rate"] == 3 / 200


def test_a_whisper_threshold_stands_between_the_two_kinds():
    made = [heard([[value]] * 3, 45, speaker) for value, speaker in ((-2.0, "a+m1"), (1.0, "a+f1"), (3.0, "a+whisper"))]
    assert 1.0 < measure.tune_whisper(made)["whispered"] < 3.0
    rows = measure.whisper_figures({"set": made}, {"whispered": 0.0})
    # Above 0: the whisper and one of two voices.
    assert rows["set: utterances"]["precision"] == 0.5
    assert rows["set: utterances"]["recall"] == 1.0
    assert rows["set: utterances"]["false_alarm_rate"] == 0.5
    # Each utterance's speech ends with its first frame.
    assert rows["set: frames"]["number"] == 3


def test_a_voice_is_compared_with_the_mean_of_the_enrolled_strings():
    # Enrolled: a at 0 and 90 degrees, so at 45; b at 180. A test string at 45 degrees is a's: cosine 1.
    enrolled = [heard([[1, 0]], 0, "a"), heard([[0, 2]], 0, "a"), heard([[-1, 0]], 0, "b")]
    scores, is_same = measure.trials(enrolled, [heard([[3, 3], [1, 1]], 0, "a")])
    np.testing.assert_allclose(scores, [[1.0, -np.sqrt(0.5)]])
    assert is_same.tolist() == [[True, False]]


# What was stored


def test_stored_graphs_hold_the_stored_weights(shipped):
    folder, _, network = shipped
    module, example = steps(network)["step"]
    program = torch.export.load(folder / "step.pt2")
    assert largest_difference(module, program.module(), example, np.random.default_rng(3)) < 1e-5


def test_a_step_gives_what_the_whole_utterance_gives(shipped):
    _, _, network = shipped
    step, (_, state) = steps(network)["step"]
    frames = torch.from_numpy(np.random.default_rng(4).standard_normal((6, 1, 192), dtype=np.float32))
    with torch.no_grad():
        whole = network(frames)
        for frame, wanted in zip(frames, whole, strict=True):
            output, state = step(frame, state)
            torch.testing.assert_close(output, wanted, atol=1e-5, rtol=1e-5)


def test_half_of_each_matrix_is_zero_as_the_card_says(shipped):
    _, card, network = shipped
    for name, weight in matrices(network).items():
        measured = float((weight == 0).float().mean())
        assert measured == pytest.approx(card["zero_share"][name], abs=1e-4)
        assert 0.49 < measured < 0.55


def test_the_card_gives_sizes_and_macs_as_the_layers_have_them(shipped):
    _, card, network = shipped
    shapes = [tuple(weight.shape) for weight in matrices(network).values()]
    assert len(shapes) == 3
    # Each entry of the three matrices is multiplied once a frame.
    products = sum(rows * cols for rows, cols in shapes)
    assert card["macs"] == {"step, per frame": products}
    assert card["matrix_weights"] == products == network.kind.macs_per_frame
    assert card["weights"] == sum(p.numel() for p in network.parameters())


def test_the_card_agrees_with_what_the_simulator_loads(shipped):
    folder, card, network = shipped
    loaded = load_network(card["name"])
    assert loaded.thresholds == card["thresholds"] != {}
    assert loaded.outputs == network.kind.names
    assert loaded.vocabulary == ()
    if loaded.outputs:
        assert set(loaded.thresholds) == set(loaded.outputs)
    assert loaded.first.sizes[loaded.first.outputs[0]] == network.kind.outputs
    assert (folder / "card.md").read_text() == page(card)
    assert all(limit in (folder / "card.md").read_text() for limit in card["limits"])


def test_those_shipped_share_one_front_end():
    front_ends = [load_network(name).features for name in SHIPPED]
    assert len(front_ends) >= 2
    assert all(front_end == front_ends[0] for front_end in front_ends)
    assert len(front_ends[0]["mean"]) == 64


def test_a_folder_stays_small_and_its_calibration_holds_features(shipped):
    folder, _, _ = shipped
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000
    loaded = load_network(folder)
    assert len(loaded.calibration) == 24
    for string in loaded.calibration:
        assert string.shape[1] == 192
        assert np.abs(string).max() <= loaded.features["clip"]


def test_integers_are_close_to_float_on_the_calibration_strings(shipped):
    folder, _, network = shipped
    loaded = load_network(folder)
    in_float, in_integers = measure.float_listener(network), measure.integer_listener(loaded)
    for string in loaded.calibration[:3]:
        wanted, got = in_float(string), in_integers(string)
        assert got.shape == wanted.shape
        assert np.corrcoef(wanted.ravel(), got.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", SHIPPED)
def test_figures_keep_to_what_the_networks_are_for(name):
    card = json.loads((MODELS / "zoo" / name / "card.json").read_text())
    for column in ("float", "integer"):
        rows = card[column]
        if name == "whisper_detector":
            assert rows["held-out accents: utterances"]["accuracy"] > 0.9
            assert rows["humans, held-out takes: utterances"]["false_alarm_rate"] < 0.05
        elif name == "speaker_id":
            assert rows["five speakers of training"]["equal_error_rate"] < 0.05
        else:
            for figures in rows.values():
                assert figures["never_fired_rate"] < 0.05
                assert figures["lead_p50_ms"] > 0


def test_a_demo_recording_is_not_whispered_and_ends_once_quiet_follows():
    samples, _ = load_audio(MODELS / "demo" / "digits_1.wav", CONFIG)
    for name, frames_after in (("whisper_detector", 0), ("endpointer", 50)):
        if name not in SHIPPED:
            continue
        network = load_network(name)
        config = FeatureConfig(**network.features)
        quiet = np.random.default_rng(1).standard_normal(frames_after * 480).astype(np.float32) * 1e-3
        outputs = measure.integer_listener(network)(features(np.concatenate([samples, quiet]), config))
        if name == "whisper_detector":
            assert outputs.mean() < network.thresholds["whispered"]
        else:
            assert outputs[-1, 1] > network.thresholds["final"] > outputs[10, 1]


def test_a_network_without_decisions_has_no_thresholds():
    graph = load_network("speaker_id").first
    plain = Network("plain", {"step": graph})
    assert (plain.thresholds, plain.outputs) == ({}, ())
    assert replace(plain, thresholds={"a": 1.0}).thresholds == {"a": 1.0}
