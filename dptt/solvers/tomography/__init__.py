"""[P] Algorithm 3, End2EndPtychoTomo, and Algorithm 1 as its one-tilt case: a volume from the patterns of all tilts.

`tomography` is the loop over epochs and tilts, `tilt_update` the loop over the minibatches of a tilt,
`minibatch_update` one minibatch, and `volume_update` its step of the volume. `steps` has the step sizes,
`guard` undoes epochs that diverge, `constraints` the prior knowledge of a potential, `refinement` scan positions and
poses, `verdict` sets back those groups of parameters (`parameter_groups`) that do not help, by the losses of
`held_out` patterns, `tilt_groups` groups of ranks on different tilts. `fit` says how well the volume explains the
patterns, `health` which tilts it does not, and `vacuum` sets the constant of a finished volume.
"""

from dptt.solvers.tomography.epoch_record import EpochRecord
from dptt.solvers.tomography.fit import FinalFits, final_fits
from dptt.solvers.tomography.guard import DivergedError, check_result
from dptt.solvers.tomography.minibatch_update import NonFiniteLossError
from dptt.solvers.tomography.settings import Refinement, Regularisation, TiltGroupSettings, TomographySettings
from dptt.solvers.tomography.tomography import reconstruct

__all__ = [
    "DivergedError",
    "EpochRecord",
    "FinalFits",
    "NonFiniteLossError",
    "Refinement",
    "Regularisation",
    "TiltGroupSettings",
    "TomographySettings",
    "check_result",
    "final_fits",
    "reconstruct",
]
