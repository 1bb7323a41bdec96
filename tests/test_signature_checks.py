"""What is imported from dptt in a test refuses arguments that are not as annotated, at every call."""

import jaxtyping
import pytest
import torch
from checks import random_tensor

from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.physics.multislice import propagate

GEOMETRY = (200e3, (12, 26, 29), (0.6, 0.5, 0.45), (14, 13), 4)


def test_an_argument_of_another_type_or_shape_is_refused_at_every_call():
    wave, propagator = random_tensor(2, 4, 4, dtype=torch.complex128), random_tensor(4, 4, dtype=torch.complex128)
    for _ in range(2):
        propagate(wave, propagator)
        with pytest.raises(jaxtyping.TypeCheckError, match="propagate"):
            propagate(wave, propagator.tolist())
        with pytest.raises(jaxtyping.TypeCheckError, match="propagate"):
            propagate(wave, propagator[0])


def test_a_field_and_an_argument_of_a_class_method_are_checked():
    Geometry(*GEOMETRY)
    with pytest.raises(jaxtyping.TypeCheckError, match="Geometry"):
        Geometry(*GEOMETRY[:4], "4")
    with pytest.raises(jaxtyping.TypeCheckError, match="initial"):
        TomographyState.initial((3, 5), torch.float64, [], [], random_tensor(2, 3), random_tensor(2, 2))
