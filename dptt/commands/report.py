"""`dptt report`: one self-contained HTML page of a run, and an .mrc file beside it."""

from pathlib import Path

import numpy as np

from dptt.io.atomic_write import replace_text
from dptt.io.mrc import write_mrc
from dptt.logs import log
from dptt.report import render_report
from dptt.runtime.results import read_result
from dptt.showing.content import report_content
from dptt.showing.latest import run_config


def report(run: Path) -> Path:
    """Write report.html, and volume.mrc where there is a volume, into `run`, and return the page.

    A run that is not finished is shown as it is: the volume of its latest checkpoint, or the steps before it.

    Raises
    ------
    ProblemsError
        The run has no result yet, or its series is another one now.
    """
    config = run_config(run)
    result = read_result(run) if (run / "volume.h5").exists() else None
    page, written = run / "report.html", []
    if result is not None:
        mrc = run / "volume.mrc"
        write_mrc(mrc, result.volume.real.astype(np.float32), result.voxel_size, overwrite=True)
        written = [str(mrc)]
    # last: it carries the identity of the analysis, by which `dptt run` knows that the report is complete
    replace_text(page, render_report(report_content(run, result, config)))
    log.info(f"wrote {' and '.join([str(page), *written])}")
    return page
