"""The place of a result is checked before any long work."""

import pytest

from dptt.io.errors import ProblemsError
from dptt.runtime.folders import no_empty_folder_left, prepare_series


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_not_replaced_by_a_series(tmp_path, overwrite):
    (tmp_path / "series.h5").mkdir()
    with pytest.raises(ProblemsError, match=r"series\.h5: is a folder; expected the name of a file"):
        prepare_series(tmp_path / "series.h5", overwrite)


def test_what_fails_leaves_no_empty_folder_that_it_made_but_any_other(tmp_path):
    (tmp_path / "old").mkdir()
    for folder, left in (("old", []), ("old/a/b", []), ("new/a", []), ("used/a", ["used"])):
        with pytest.raises(KeyError), no_empty_folder_left(tmp_path / folder):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            if left:
                (tmp_path / "used" / "file").touch()
            raise KeyError
        assert sorted(path.name for path in tmp_path.iterdir()) == ["old", *left]
        assert not any((tmp_path / "old").iterdir())
    with no_empty_folder_left(tmp_path / "kept"):
        (tmp_path / "kept").mkdir()
    assert (tmp_path / "kept").is_dir()
