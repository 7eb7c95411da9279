"""The front end: what a frame is, and which recordings are refused."""

import numpy as np
import pytest
import soundfile

from azsim.errors import AudioError
from azsim.execute.features import FeatureConfig, features, load_audio, log_mel

RATE_HZ = 16_000


def naive_log_mel(samples, config):
    """The front end again, from its definition: a sum over samples for each frequency, one band at a time."""
    size, hop, points = 400, 160, config.fft_points
    n = np.arange(size)
    hann = 0.5 * (1 - np.cos(2 * np.pi * n / size))

    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)

    def hertz(mel):
        return 700 * (10 ** (mel / 2595) - 1)

    step = (mel(config.highest_hz) - mel(config.lowest_hz)) / (config.bands + 1)
    rows = []
    for start in range(0, len(samples) - size + 1, hop):
        window = samples[start : start + size] * hann
        power = [abs((window * np.exp(-2j * np.pi * k * n / points)).sum()) ** 2 for k in range(points // 2 + 1)]
        row = []
        for band in range(config.bands):
            left, center, right = (hertz(mel(config.lowest_hz) + (band + i) * step) for i in range(3))
            energy = 0.0
            for k, p in enumerate(power):
                hz = k * RATE_HZ / points
                if left < hz <= center:
                    energy += p * (hz - left) / (center - left)
                elif center < hz < right:
                    energy += p * (right - hz) / (right - center)
            row.append(np.log(energy + config.floor))
        rows.append(row)
    return np.array(rows)


@pytest.fixture
def chirp():
    t = np.arange(1100) / RATE_HZ
    noise = np.random.default_rng(3).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * (300 + 20_000 * t) * t) + 0.01 * noise).astype(np.float32)


def test_log_mel_agrees_with_the_definition(chirp):
    config = FeatureConfig()
    np.testing.assert_allclose(log_mel(chirp, config), naive_log_mel(chirp, config), rtol=1e-3, atol=1e-3)


def test_frames_are_normalized_clamped_and_stacked_in_order(chirp):
    mean, std = tuple(np.linspace(-6, -2, 64)), tuple(np.linspace(1, 3, 64))
    config = FeatureConfig(mean=mean, std=std, clip=1.5)
    expected = np.clip((log_mel(chirp, FeatureConfig()) - mean) / std, -1.5, 1.5)
    # 1100 samples: windows start at 0, 160, 320, 480, 640 -> 5 windows, 1 whole frame of 3.
    frames = features(chirp, config)
    assert frames.shape == (1, 192)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames[0, 64:128], expected[1], rtol=1e-5, atol=1e-5)
    assert np.abs(frames).max() == 1.5


def test_a_frame_does_not_look_ahead(chirp):
    config = FeatureConfig()
    longer = np.concatenate([chirp, np.ones(500, np.float32)])
    np.testing.assert_array_equal(features(longer, config)[0], features(chirp, config)[0])


def test_the_shortest_recording_gives_one_frame_and_one_sample_less_gives_none():
    config = FeatureConfig()
    assert config.shortest_samples == 400 + 2 * 160
    assert len(features(np.zeros(720, np.float32), config)) == 1
    assert len(features(np.zeros(719, np.float32), config)) == 0


def test_a_16_khz_mono_file_is_used_as_it_is(tmp_path, chirp):
    soundfile.write(tmp_path / "a.wav", chirp, RATE_HZ, subtype="FLOAT")
    samples, notes = load_audio(tmp_path / "a.wav")
    assert notes == []
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, chirp)


def test_stereo_and_odd_rates_are_converted_and_said(tmp_path):
    t = np.arange(44_100) / 44_100
    tone = np.stack([0.5 * np.sin(2 * np.pi * 440 * t), np.zeros_like(t)], axis=1)
    soundfile.write(tmp_path / "a.wav", tone, 44_100, subtype="FLOAT")
    samples, notes = load_audio(tmp_path / "a.wav")
    assert len(notes) == 2
    assert "2 channels" in notes[0]
    assert "44,100" in notes[1]
    assert len(samples) == RATE_HZ
    middle = samples[4000:12_000]  # half the amplitude: the mean of a tone and silence
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(4000, 12_000) / RATE_HZ)
    np.testing.assert_allclose(middle, expected, atol=2e-3)


def write_bad(path, kind):
    if kind == "text":
        path.write_text("not a recording")
    elif kind == "empty":
        soundfile.write(path, np.zeros(0, np.float32), RATE_HZ)
    elif kind == "short":
        soundfile.write(path, np.zeros(719, np.float32), RATE_HZ)
    elif kind == "nan":
        samples = np.zeros(2000, np.float32)
        samples[7] = np.nan
        soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("missing", "no such"), ("text", "cannot be read"), ("empty", "no samples"), ("short", "44.9 ms"),
     ("nan", "1 of 2,000")],
)  # fmt: skip
def test_bad_audio_is_refused_by_name(tmp_path, kind, said):
    path = tmp_path / "bad.wav"
    write_bad(path, kind)
    with pytest.raises(AudioError, match=said) as caught:
        load_audio(path)
    assert "bad.wav" in str(caught.value)


@pytest.mark.parametrize("fields", [{"window_ms": 40.0}, {"highest_hz": 9000.0}, {"mean": (0.0,)}, {"band": 64},
                                    {"std": (0.0,) * 64}])  # fmt: skip
def test_a_front_end_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields)).split("_")[0]):
        FeatureConfig(**fields)
