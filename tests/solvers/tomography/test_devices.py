"""An epoch on a GPU mixes no tensors of host and device; shown without a GPU, on PyTorch's device `meta`.

Tensors there have a shape but no data, and operations that mix them with others are refused, as those of a GPU are.
What the solver asks of their values (losses, power sums) is answered with ones.
"""

import pytest
import torch
from small_series import GEOMETRY, Patterns, make_truth, scan
from solver_settings import refinement, regularisation, tomography_settings
from torch.overrides import TorchFunctionMode

from dptt.distributed.mesh import Mesh
from dptt.model.state import TomographyState
from dptt.solvers.tomography import EpochRecord, reconstruct

DEVICE = torch.device("meta")


class PretendedGpu(TorchFunctionMode):
    """Answers with ones what comes back from the device."""

    def __init__(self):
        super().__init__()
        self.computed = 0

    def __torch_function__(self, function, types, arguments=(), options=None):
        first, name = arguments[0] if arguments else None, getattr(function, "__name__", "")
        if isinstance(first, torch.Tensor) and first.is_meta:
            self.computed += 1
            target = arguments[1] if len(arguments) > 1 else None
            comes_back = target == "cpu" or (isinstance(target, torch.Tensor) and not target.is_meta)
            ones = torch.ones(first.shape, dtype=first.dtype)
            if name == "cpu" or (name == "to" and comes_back):
                return ones
            if name in ("item", "tolist", "__float__", "__bool__"):
                return getattr(ones, name)()
        return function(*arguments, **(options or {}))


ALL = {what: refinement(start=0) for what in ("probe", "positions", "angles", "translations")}
FILTERS = regularisation(butterworth_cutoff=0.9, layer_weight=0.5)
CASES = {
    "everything refined": tomography_settings(epochs=1, batches=2, **ALL),
    "filters": tomography_settings(epochs=1, batches=2, regularisation=FILTERS),
}


def start(kind) -> tuple[TomographyState, list[Patterns]]:
    truth = make_truth(positions=[scan((3, 3), seed=10 + tilt) for tilt in range(5)])
    mask = torch.ones(GEOMETRY.window_shape, dtype=torch.bool)
    series = truth.series()
    for patterns in series:
        patterns.mask = mask
    return truth.start(volume_dtype=kind), series


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param("everything refined", torch.float64, marks=pytest.mark.thorough), ("filters", torch.complex128)],
)
def test_an_epoch_on_a_gpu_never_mixes_host_and_device(case, kind):
    state, series = start(kind)
    records: list[EpochRecord] = []
    with PretendedGpu() as gpu:
        state.move_to(DEVICE)
        reconstruct(state, series, GEOMETRY, CASES[case], Mesh.serial(), records.append)
    assert gpu.computed > 1000
    assert all(tensor.is_meta for tensor in (state.volume, state.velocity, *state.probes))
    assert not any(tensor.is_meta for tensor in (*state.positions, state.euler_angles, state.translations))
    assert len(records) == 1


def test_the_pretended_gpu_refuses_to_mix():
    state, _ = start(torch.float64)
    volume = state.volume
    with PretendedGpu():
        state.move_to(DEVICE)
        with pytest.raises(RuntimeError, match="device"):
            state.volume + volume
