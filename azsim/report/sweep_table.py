"""The table of a sweep: sorted, searched, filtered by column and saved as CSV in the page itself, offline."""

import json
import math
import re
from typing import Any

import itables
import itables.javascript
import numpy as np
import pandas as pd
from markupsafe import Markup

from azsim.report.quantity import describe
from azsim.report.reading import FEASIBLE, Reading

PAGE_ROWS = 15
SIGNIFICANT = 4
NUMBER = """function (value, type) {
    const missing = value === null || Number.isNaN(value);
    if (type === "display") return missing ? "–" : value.toLocaleString("en-US", %s);
    if (type === "export" || type === "filter") return missing ? "" : value;
    return missing ? Infinity : value;
}"""

WITHOUT_FILTER_ROW = r"""function (csv) {
    return csv.replace(/^([^\n]*\n)(?:"",?)+\n/, "$1");
}"""
CLEAR = """function (event, table) {
    table.columns().ccSearchClear();
    table.search("").draw();
}"""


def library() -> Markup:
    """The scripts and styles that the tables of a page need, once."""
    return Markup(itables.javascript.generate_init_offline_itables_html(itables.options.dt_bundle))


def points_table(reading: Reading, name: str) -> Markup:
    """All points: what was varied, what came out, whether it is on the front; the front first."""
    points = reading.points
    columns: dict[str, pd.Series] = {"front": points.on_front.map({True: "yes", False: "no"})}
    if FEASIBLE in points:
        columns["feasible"] = reading.feasible.map({True: "yes", False: "no"})
    if points.sweep.nunique() > 1:
        columns["sweep"] = points.sweep
    for quantity in (*reading.objectives, *reading.others, *reading.axes):
        columns[quantity.title] = quantity.shown(points[quantity.name])
    columns["bound"] = points.bound
    columns["key"] = points.key
    table = pd.DataFrame(columns)
    first = reading.objectives[0].title if reading.objectives else "key"
    table = table.sort_values(["front", first], ascending=[False, True])
    return interactive(table, name, f"{reading.title}-points")


def failures_table(reading: Reading, name: str) -> Markup:
    """Points that could not run, and why."""
    failures = reading.failures.drop(columns="sweep" if reading.failures.sweep.nunique() == 1 else [])
    columns = {}
    for column in failures.columns.drop("error"):
        quantity = describe(column, failures[column])
        columns[quantity.title] = quantity.shown(failures[column])
    table = pd.DataFrame({**columns, "reason": failures.error})
    return interactive(table, name, f"{reading.title}-failures")


def interactive(table: pd.DataFrame, name: str, file_name: str) -> Markup:
    """A data frame as a table that works in the page; numbers keep their order, and leave it unformatted."""
    table, formats = table.copy(), []
    for n, column in enumerate(table):
        if table[column].dtype.kind in "if":
            digits = decimals(table[column].to_numpy(float))
            table[column] = table[column].astype(float).round(digits)
            form = json.dumps({"minimumFractionDigits": digits, "maximumFractionDigits": digits})
            formats.append({"targets": n, "className": "dt-right num",
                            "render": itables.JavascriptFunction(NUMBER % form)})  # fmt: skip
        else:
            table[column] = table[column].astype(object)
            formats.append({"targets": n, "className": "dt-left"})
    layout: dict[str, Any] = {"topStart": "buttons", "topEnd": "search", "bottomStart": "info"}
    layout["bottomEnd"] = ["pageLength", "paging"]
    html = itables.to_html_datatable(
        table.reset_index(drop=True),
        connected=False,
        table_id=name,
        classes="display compact",
        style="width:100%;caption-side:bottom",
        maxBytes=0,
        maxRows=0,
        maxColumns=0,
        showIndex=False,
        format_floats_in_python=False,
        display_logo_when_loading=False,
        text_in_header_can_be_selected=False,
        pageLength=PAGE_ROWS,
        lengthMenu=[PAGE_ROWS, 50, 200, 1000],
        deferRender=True,
        scrollX=True,
        columnDefs=formats,
        columnControl=[{"target": 0, "content": ["order"]}, {"target": 1, "content": ["search"]}],
        ordering={"indicators": False, "handlers": True},
        layout=layout,
        buttons=[
            {
                "extend": "csvHtml5",
                "text": "Save these rows as CSV",
                "filename": re.sub(r"[^\w.-]+", "_", file_name),
                "exportOptions": {"orthogonal": "export"},
                "customize": itables.JavascriptFunction(WITHOUT_FILTER_ROW),
            },
            {"text": "Clear filters", "action": itables.JavascriptFunction(CLEAR)},
        ],
    )
    return Markup(html)


def decimals(values: np.ndarray) -> int:
    """Digits after the point that give small values ``SIGNIFICANT`` figures, fewer if no value needs them."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(finite):
        return 0
    enough = max(0, min(9, SIGNIFICANT - 1 - math.floor(math.log10(float(np.quantile(finite, 0.05))))))
    rounded = finite.round(enough)
    return next(digits for digits in range(enough + 1) if (finite.round(digits) == rounded).all())
