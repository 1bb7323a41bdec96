"""The place of a result is checked before any long work."""

import pytest

from dptt.io.errors import ProblemsError
from dptt.runtime.folders import prepare_series


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_not_replaced_by_a_series(tmp_path, overwrite):
    (tmp_path / "series.h5").mkdir()
    with pytest.raises(ProblemsError, match=r"series\.h5: is a folder; expected the name of a file"):
        prepare_series(tmp_path / "series.h5", overwrite)
