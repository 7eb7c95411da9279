"""Stage 8, what is read: tables, figures, and one HTML page."""

from azsim.report.tables import Tables, tabulate
from azsim.report.trace import write_trace
from azsim.report.write import check_writable, write_report

__all__ = ["Tables", "check_writable", "tabulate", "write_report", "write_trace"]
