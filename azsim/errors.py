"""Every error that azsim raises for a user's mistake.

    AzsimError
    ├── AudioError       a recording that cannot be read or used
    ├── ModelError       a network that cannot be traced, loaded or lowered
    │   └── UnsupportedOpError   ops that azsim cannot run, all of them at once
    ├── WeightError      weights that cannot be quantized (NaN, overflow of an accumulator)
    ├── CodecError       a packed stream that is corrupt, truncated or not representable
    ├── ChipError        a chip description that is wrong: unknown field, bad value, unknown preset
    │   └── CapacityError        a tile, a vector or an accumulator set that does not fit
    ├── LawError         a conservation law that a result breaks: a defect of azsim, never of the user
    ├── OutputError      a report that cannot be written
    ├── ScenarioError    a stream that is wrong: contradictory priorities, no uplink, an impossible deadline
    └── SweepError       a space, a search or a cluster that is wrong
        └── StoreError           a file of results that cannot be used

The message states what must hold, what was got with units, and a way out, and it names the
file, field or layer. The command line prints it and exits with code 2; no traceback.
"""


class AzsimError(Exception):
    """Base of every error that azsim raises on purpose."""


class AudioError(AzsimError):
    """A recording that cannot be read or used."""


class ModelError(AzsimError):
    """A network that cannot be traced, loaded or lowered."""


class UnsupportedOpError(ModelError):
    """Ops that azsim cannot run; the message lists every one with its module path."""


class WeightError(AzsimError):
    """Weights that cannot be quantized."""


class CodecError(AzsimError):
    """A packed stream that is corrupt, truncated, or a tensor that a codec cannot hold."""


class ChipError(AzsimError):
    """A chip description that is wrong."""


class CapacityError(ChipError):
    """Something that does not fit the memory it must live in."""


class LawError(AzsimError):
    """A conservation law that a result breaks; the message shows the law and both sides."""


class OutputError(AzsimError):
    """A result that cannot be written where it was asked for."""


class ScenarioError(AzsimError):
    """A scenario of a stream that is wrong or cannot be met, found before the simulation starts."""


class SweepError(AzsimError):
    """A space, a search or a cluster that is wrong: an axis, an expression, an address."""


class StoreError(SweepError):
    """A file of results that cannot be used; it is left as it was."""
