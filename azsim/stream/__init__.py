"""Stage 5, what the person feels: several networks, a microphone, a host core and an uplink around one chip."""

from azsim.stream.books import Answer, Log
from azsim.stream.household import Household
from azsim.stream.outcome import Stream
from azsim.stream.prepare import Ear
from azsim.stream.scenario import Scenario, load_scenario
from azsim.stream.window import Window

__all__ = ["Answer", "Ear", "Household", "Log", "Scenario", "Stream", "Window", "load_scenario"]
