"""A sample of the study of false alarms: good tilts are not called wrong, a tilt out of focus is."""

import pytest
from tilt_faults import results


@pytest.mark.thorough
@pytest.mark.slow
def test_good_tilts_are_not_called_wrong_and_one_out_of_focus_is(tmp_path):
    good, defocused = results(3, tmp_path, [None, "defocus 20 Å"])
    assert not any(good["called_wrong"])
    assert [i for i, called in enumerate(defocused["called_wrong"]) if called] == [defocused["wrong"]]
