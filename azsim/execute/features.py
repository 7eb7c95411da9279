"""Turn a recording into the numbers that a speech network reads: stacked log-mel frames.

One front end for training and simulation. Samples are cut into overlapping windows; a window's
power spectrum is gathered into mel bands, compressed with a logarithm, normalized per band with
the mean and standard deviation that the network was trained with, clamped, and ``stack`` windows
are laid side by side::

    25 ms window every 10 ms -> 64 log-mel bands -> (x - mean) / std -> 3 stacked = 192 values / 30 ms

Shapes: float32[N] samples at 16 kHz -> float32[T, 192], T = windows // stack.

Source
------
Published  64 log-mel bands, 3 stacked: Amazon's streaming RNN-T papers (2021-2022).
Borrowed   mel = 2595 log10(1 + hz / 700), triangular filters: O'Shaughnessy 1987, HTK.
Assumed    the band edges, the floor under the logarithm and the clamp, which bounds the int8 range.

Left out
--------
Pre-emphasis, dither, and any look-ahead: a frame depends on its own samples alone.
"""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from pydantic import Field, model_validator

from azsim.chip.config import Config
from azsim.errors import AudioError


class FeatureConfig(Config):
    """The front end's numbers, stored with each network."""

    sample_rate_hz: int = Field(16_000, gt=0)
    window_ms: float = Field(25.0, gt=0)
    hop_ms: float = Field(10.0, gt=0)
    fft_points: int = Field(512, gt=0)
    bands: int = Field(64, gt=0, description="mel bands")
    lowest_hz: float = Field(20.0, ge=0)
    highest_hz: float = Field(8_000.0, gt=0)
    floor: float = Field(1e-5, gt=0, description="added to a band's energy before the logarithm")
    stack: int = Field(3, gt=0, description="windows laid side by side in a frame")
    clip: float = Field(4.0, gt=0, description="normalized values are clamped to +- this")
    mean: tuple[float, ...] = Field((), description="per band; empty means 0")
    std: tuple[float, ...] = Field((), description="per band; empty means 1")

    @property
    def window_samples(self) -> int:
        return round(self.sample_rate_hz * self.window_ms / 1e3)

    @property
    def hop_samples(self) -> int:
        return round(self.sample_rate_hz * self.hop_ms / 1e3)

    @property
    def frame_ms(self) -> float:
        """Spacing of frames: ``stack`` hops."""
        return self.hop_ms * self.stack

    @property
    def shortest_samples(self) -> int:
        """Samples that one frame needs."""
        return self.window_samples + (self.stack - 1) * self.hop_samples

    @model_validator(mode="after")
    def _fits(self) -> "FeatureConfig":
        if self.window_samples > self.fft_points:
            raise ValueError(f"`window <= fft_points` must hold, but got {self.window_samples} > {self.fft_points}")
        if not self.lowest_hz < self.highest_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"`lowest_hz < highest_hz <= sample_rate_hz / 2` must hold, but got {self.lowest_hz}, "
                f"{self.highest_hz} and {self.sample_rate_hz} Hz"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, self.bands):
                raise ValueError(f"`{name}` needs one value per band ({self.bands}) or none, but got {len(values)}")
        if any(value <= 0 for value in self.std):
            raise ValueError("`std` must be positive in every band")
        return self


def mel_filters(config: FeatureConfig) -> np.ndarray:
    """Triangular filters with corners evenly spaced in mel; float32[bands, fft_points // 2 + 1]."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (config.lowest_hz, config.highest_hz))
    corners_hz = 700.0 * (10.0 ** (np.linspace(low, high, config.bands + 2) / 2595.0) - 1.0)
    bin_hz = np.arange(config.fft_points // 2 + 1) * config.sample_rate_hz / config.fft_points
    left, center, right = corners_hz[:-2, None], corners_hz[1:-1, None], corners_hz[2:, None]
    rising, falling = (bin_hz - left) / (center - left), (right - bin_hz) / (right - center)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Log-mel energies before normalization; float32[N] -> float32[windows, bands]."""
    if len(samples) < config.window_samples:
        return np.zeros((0, config.bands), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, config.window_samples)[:: config.hop_samples]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window_samples) / config.window_samples)
    spectrum = np.fft.rfft(windows * hann.astype(np.float32), config.fft_points)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(power @ mel_filters(config).T + np.float32(config.floor))


def stack_normalized(bands: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Normalize per band, clamp, and lay ``stack`` windows side by side; the remainder is dropped."""
    mean = np.asarray(config.mean or (0.0,), np.float32)
    std = np.asarray(config.std or (1.0,), np.float32)
    normalized = np.clip((bands - mean) / std, -config.clip, config.clip).astype(np.float32)
    frames = len(normalized) // config.stack
    return normalized[: frames * config.stack].reshape(frames, config.stack * config.bands)


def features(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Frames of a recording at ``config.sample_rate_hz``; float32[N] -> float32[T, stack * bands]."""
    return stack_normalized(log_mel(np.asarray(samples, np.float32), config), config)


def load_audio(path: Path | str, config: FeatureConfig | None = None) -> tuple[np.ndarray, list[str]]:
    """Read a recording as mono samples at the front end's rate, and say what had to be changed.

    Returns
    -------
    samples : float32[N]
        In [-1, 1], at ``config.sample_rate_hz``.
    notes : list of str
        One sentence per conversion; empty if the file was used as it is.

    Raises
    ------
    AudioError
        Missing, unreadable, empty, too short for one frame, or with NaN or infinite samples.
    """
    config = config or FeatureConfig()
    wanted = f"a recording of at least {config.shortest_samples / config.sample_rate_hz * 1e3:.0f} ms (WAV or FLAC)"
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such audio file; expected {wanted}. Check the path given with --audio.")
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path}: cannot be read as audio ({error}); expected {wanted}. Convert it to WAV.") from error
    if len(sound) == 0:
        raise AudioError(f"{path}: holds no samples; expected {wanted}. Record it again.")
    if not np.isfinite(sound).all():
        bad = int((~np.isfinite(sound)).sum())
        raise AudioError(
            f"{path}: {bad:,} of {sound.size:,} samples are NaN or infinite; export it again as 16-bit WAV."
        )
    notes = []
    channels = sound.shape[1]
    samples = sound.mean(axis=1)
    if channels > 1:
        notes.append(f"{channels} channels mixed down to mono")
    if rate_hz != config.sample_rate_hz:
        samples = soxr.resample(samples, rate_hz, config.sample_rate_hz)
        notes.append(f"resampled from {rate_hz:,} Hz to {config.sample_rate_hz:,} Hz")
    if len(samples) < config.shortest_samples:
        raise AudioError(
            f"{path}: {len(sound) / rate_hz * 1e3:.1f} ms long, too short for one frame; expected {wanted}. "
            f"Use a longer recording or pad it with silence."
        )
    return np.ascontiguousarray(samples, np.float32), notes
