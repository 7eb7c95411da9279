"""The same flow from a shell; each file holds a few commands, and this one puts them together."""

import typer

from azsim.cli.compare import compare_points
from azsim.cli.report import report_store
from azsim.cli.run import explain_run, run
from azsim.cli.search import search_space
from azsim.cli.show import inspect, list_chips, list_zoo, show_chip
from azsim.cli.stream import stream
from azsim.cli.sweep import sweep_space
from azsim.cli.validate import validate_machines

app = typer.Typer(
    help="Simulate speech networks on neural edge processors: latency, bandwidth, energy.\n\n"
    "Start with: azsim run --model amnet --audio models/demo/digits_1.wav --out out/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
chips = typer.Typer(help="Chips that come with azsim, and the provenance of their numbers.", no_args_is_help=False)
chips.callback(invoke_without_command=True)(list_chips)
chips.command("show")(show_chip)

app.command("run")(run)
app.command("explain")(explain_run)
app.command("stream")(stream)
app.command("validate")(validate_machines)
app.command("sweep")(sweep_space)
app.command("search")(search_space)
app.command("report")(report_store)
app.command("compare")(compare_points)
app.command("inspect")(inspect)
app.command("zoo")(list_zoo)
app.add_typer(chips, name="chips")
