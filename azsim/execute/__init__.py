"""Stage 3, what the numbers are: features, integer execution, and the activity record."""

from azsim.execute.features import FeatureConfig, features, load_audio
from azsim.execute.interpreter import Execution, Interpreter
from azsim.execute.record import ActivityRecord, Op

__all__ = ["ActivityRecord", "Execution", "FeatureConfig", "Interpreter", "Op", "features", "load_audio"]
