"""One comparison of a published figure with azsim's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A published figure and what azsim says of the same thing.

    Attributes
    ----------
    machine, what : str
        ``"ESE"``, ``"W_ir"``.
    unit : str
        Of both figures.
    published, azsim : float
    mark : str
        Of the published figure: published, borrowed or assumed.
    source : str
        Where the published figure is from.
    note : str
        What must be known to read the row.
    is_band : bool
        A plausibility band: the two figures are not of the same machine, so nothing is reproduced.
    low, high : float, optional
        Of a band: the published range. Of a reproduction: azsim's range over seeds.
    """

    machine: str
    what: str
    unit: str
    published: float
    azsim: float
    mark: str
    source: str
    note: str = ""
    is_band: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def error(self) -> float:
        """azsim over published, less one."""
        return self.azsim / self.published - 1
