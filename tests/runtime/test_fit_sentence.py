"""The log says what the figure of fit consists of, and what to conclude."""

import pytest

from dptt.model.shot_noise import Fit
from dptt.runtime.health import fit_sentence
from dptt.solvers.tomography import FinalFits


def fits(held_out: float, fitted: float | None = None) -> FinalFits:
    """Return fits with these figures, standard deviation 0.005, of `fitted` and other patterns if there are any."""
    judged, own = (
        [Fit(loss=100.0 * figure, expected=100.0, variance=0.25, scattering=1000.0, electrons=1e4)]
        for figure in (held_out, held_out if fitted is None else fitted)
    )
    return FinalFits(judged, fitted is not None, own)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fits(1.008, 0.996), "1.008 ± 0.005 (held-out patterns; 1: all but the shot noise is explained): the volume"),
        (fits(1.079, 0.921), "0.079 is noise that the volume has fitted; beyond that it explains these data"),
        (
            fits(1.6, 1.5),
            "Of the 0.600 above 1, 0.050 is noise that the volume has fitted, and 0.550 is not noise; 6.0 %",
        ),
        (fits(1.6), "(fitted patterns, which lowers it; 1: all but the shot noise is explained); 6.0 % of"),
        (fits(0.7, 0.69), "the counts scatter less than electrons do"),
    ],
)
def test_the_figure_of_fit_is_said_with_its_parts(found, said):
    assert said in fit_sentence(found)


def test_noise_is_at_most_what_is_above_one():
    assert "Of the 0.020 above 1, 0.020 is noise" in fit_sentence(fits(1.02, 0.9))
