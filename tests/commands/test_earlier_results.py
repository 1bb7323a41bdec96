"""What earlier steps find is what later ones begin with, in one frame."""

import numpy as np
import pytest

from dptt.config import load_config
from dptt.io.alignment import AlignedTilt, Alignment, write_alignment
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.runtime.earlier_results import start_of_reconstruction


def test_a_section_without_its_result_names_the_command_to_run(tiny, tmp_path):
    with TiltSeries.open(tiny / "series.h5") as series:
        for section, command in (("brightfield", "brightfield"), ("ptychography", "ptycho"), ("alignment", "align")):
            config = load_config(tiny / "tiny.yaml", [f"run={tmp_path}", f"{section}={{}}"])
            with pytest.raises(ProblemsError, match=f"Run `dptt {command}` or `dptt run`"):
                start_of_reconstruction(config, series)


def test_poses_are_those_of_the_alignment_and_a_tilt_it_lacks_keeps_the_files(tiny, tmp_path):
    config = load_config(tiny / "tiny.yaml", [f"run={tmp_path}", "alignment={}"])
    aligned = {"0001": AlignedTilt((1.0, 2.0, 3.0), (0.5, -0.5), 0.1, 1.0)}
    alignment = Alignment(np.zeros((2, 2, 2), np.float32), (0.4, 0.4, 0.4), aligned, {})
    write_alignment(tmp_path / "alignment.h5", alignment)
    with TiltSeries.open(tiny / "series.h5") as series:
        starts = start_of_reconstruction(config, series)
        assert starts["0001"].euler_angles == (1.0, 2.0, 3.0) and starts["0001"].translation == (0.5, -0.5)
        assert starts["0002"].euler_angles == series.tilts[2].euler_angles
        np.testing.assert_array_equal(starts["0001"].scan_positions, series.tilts[1].scan_positions())
