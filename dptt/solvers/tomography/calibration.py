"""Errors of the experiment, found tilt by tilt at the end of an epoch: scan, descan, focus, background, blur.

A tilt's parameters (`model.calibration`) take one Gauss-Newton step together, from patterns that the volume does not
fit meanwhile. That a volume has followed a wrong scan does not slow the search:

- The scan is judged by what a probe sees about its own centre (`sensitivities.STRETCH`), as if the specimen followed
  the scan. Against a fixed specimen, which has followed a wrong scan, the step would be far too short.
- The specimen does follow, within an epoch or two.

The strain is biased by what the model lacks, in all tilts alike. Waves that return from beyond the detector and the
noise of the volume scatter to lower angles when stretched with the specimen, where they do less harm: patterns of 1e5
electrons prefer a scale 1 to 2 % too large, and a y longer than x by 1 to 3 %. The mean strain of all tilts is
therefore taken from the file; it has a switch of its own.

Stretch and focus look alike: a defocused probe shows the specimen magnified, an astigmatic one strained. A rotation
looks like neither, so that of a strain only what the common elements of the matrix and the rotation tell is certain.

What is fixed where: the mean scale of the scan is that of the detector's angles, which the file states; a
displacement of the whole scan is the tilt's translation; a rotation of the scan against the detector is not the
in-plane angle psi of the specimen, which is left as it is; a displacement of all patterns is a tilt of the probe, if
that is refined.

Deviations of a tilt from the others are believed as far as their errors allow: the common value and the spread of
every parameter are estimated from all tilts (empirical Bayes).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dptt.kernels.losses import LOSSES
from dptt.model.calibration import (
    BACKGROUND,
    BLUR,
    DESCAN,
    FOCUS,
    NUM_PARAMETERS,
    SCAN,
    SCAN_SHAPES,
    ZERO_ANGLE,
    focus_change,
    scan_matrix,
)
from dptt.model.state import TomographyState
from dptt.physics.multislice import propagate
from dptt.physics.point_spread import LARGEST_VARIANCE
from dptt.solvers.newton import damped_newton_step
from dptt.solvers.tomography import sensitivities
from dptt.solvers.tomography.borders import within_volume
from dptt.solvers.tomography.minibatch_update import local_batch, read_usable
from dptt.solvers.tomography.minibatches import calibrating_positions, own_positions
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_patterns import TiltPatterns, electrons_per_pixel
from dptt.solvers.tomography.tilt_plan import plan_tilt

SCAN_WIDTH, DESCAN_WIDTH, ZERO_ANGLE_WIDTH, FOCUS_WIDTH = 0.05, 3.0, 1.0, 100.0
BACKGROUND_WIDTH, BLUR_WIDTH = 0.1, 0.5
"""Standard deviations expected of a tilt: of the scan matrix, of the descan at the edge of the scan [pixels], of the
zero angle [pixels], of the focus [Å], of the background as a fraction of the pattern, of the blur [pixels²]. Wide:
they keep what patterns do not tell from following noise."""
LARGEST_STEP = 0.6
"""Of a parameter in an epoch, in these widths."""
SIGNIFICANT = 3.0
"""Standard deviations by which a parameter must differ from zero to be kept at the end."""
ITERATIONS = 300
"""Of the EM algorithm for the spread of the tilts: matrices of a dozen numbers."""
SMALLEST_SPREAD = 1e-10
"""Variance over the tilts of a parameter, as a fraction of that of its errors: keeps its inverse finite."""
STRAIN = (SCAN.start + 1, SCAN.start + 3)
"""Parameters of a scan whose y is longer than x, and that is sheared."""
FEWEST_TILTS = 4
"""From which a common value and a spread are estimated."""


def calibrate_(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> None:
    """Move the parameters of every tilt, its positions and probe with them, in place; the same on all ranks."""
    settings = run.settings.calibration
    if not settings.active(state.epoch):
        return
    active = _active(run, state.epoch, len(tilts))
    widths = torch.stack([_widths(positions) for positions in state.positions])
    sums = torch.zeros((len(tilts), NUM_PARAMETERS * (1 + 2 * NUM_PARAMETERS)), dtype=torch.float64)
    for index in run.groups.own:
        with run.mesh.world.working(f"the calibration of tilt {tilts[index].name}"):
            sums[index] = run.mesh.group.sum_(_own_sums(state, tilts[index], index, run))
    gradient, *squares = run.groups.shared(sums).split([NUM_PARAMETERS, *[NUM_PARAMETERS**2] * 2], dim=1)
    hessian, scatter = (square.reshape(-1, NUM_PARAMETERS, NUM_PARAMETERS) for square in squares)
    likelihood = LOSSES[run.settings.loss].curvature / 4  # the loss is the negative log likelihood times c/4
    prior = likelihood / widths**2
    gradient = (gradient + prior * state.calibration)[:, active]
    information = (hessian + torch.diag_embed(prior))[:, active][:, :, active]
    step = torch.zeros_like(state.calibration)
    step[:, active] = damped_newton_step(gradient, information)
    limit = LARGEST_STEP * widths
    covariances = torch.zeros_like(hessian)
    covariances[:, active[:, None], active] = _covariances(information, scatter[:, active][:, :, active], likelihood)
    errors = torch.diagonal(covariances, dim1=1, dim2=2).sqrt()
    wanted = state.calibration + step
    tied_errors = torch.zeros_like(errors)
    wanted[:, active], tied_errors[:, active] = believed(wanted, covariances, active, free_strain=settings.scan_scale)
    found = state.calibration + (wanted - state.calibration).clamp(-limit, limit)
    if not settings.active(state.epoch + 1):
        kept = significant(found, errors)
        if len(tilts) >= FEWEST_TILTS and kept[:, SCAN].any():  # its elements are tied, not its parameters
            kept[:, SCAN] = found[:, SCAN]
        found = kept
    found[:, BACKGROUND], found[:, BLUR] = (
        found[:, BACKGROUND].clamp_min(0),
        found[:, BLUR].clamp(0, LARGEST_VARIANCE),
    )
    for index in range(len(tilts)):
        apply_(state, index, found[index], run)
    earlier = state.calibration_errors.clone()  # of what is not looked for any more
    earlier[:, active] = tied_errors[:, active]
    state.calibration_errors = earlier


def believed(
    values: Float[Tensor, "tilt parameter"],
    covariances: Float[Tensor, "tilt parameter parameter"],
    active: Int[Tensor, " chosen"],
    *,
    free_strain: bool,
) -> tuple[Float[Tensor, "tilt chosen"], Float[Tensor, "tilt chosen"]]:
    """Return the `active` values, moved towards their common mean, and their standard deviations.

    How far depends on how much of the spread of the tilts their errors explain. Values of a tilt have their
    covariances, and true ones are normal about the mean of all tilts with a variance of each parameter, found by the
    EM algorithm. Of the scan it is each element of the matrix that has a variance: a drift changes the elements of
    one column from tilt to tilt, those of the other are the microscope's. The errors of a stretch and of the focus
    are correlated, so that it matters which of them all tilts share. Values of fewer than `FEWEST_TILTS` are kept.

    Without `free_strain` scale, shear and how much longer y is than x have a mean of zero over the tilts: every tilt
    gives up the means, and what its other parameters owe to them by their correlation. Tilts still differ, by drift.
    """
    if len(values) < FEWEST_TILTS or not len(active):
        return values[:, active], torch.diagonal(covariances, dim1=1, dim2=2)[:, active].sqrt()
    basis = _tied(values.shape[1])[:, active]
    basis = basis[basis.any(1)]
    if len(basis) != len(active):  # a scan without its scale: its elements are not free
        basis = torch.eye(len(active), dtype=torch.float64)
    turned = values[:, active] @ basis.T
    covariance = basis @ covariances[:, active[:, None], active] @ basis.T
    precision = torch.linalg.inv(covariance)
    weighted = torch.einsum("tij,tj->ti", precision, turned)
    least = SMALLEST_SPREAD * torch.diagonal(covariance, dim1=1, dim2=2).mean(0)
    mean, variance = turned.mean(0), torch.maximum(turned.var(0, correction=0), least)
    for _ in range(ITERATIONS):
        posterior = torch.linalg.inv(precision + torch.diag(1 / variance))
        true = torch.einsum("tij,tj->ti", posterior, weighted + mean / variance)
        mean = true.mean(0)
        spread = (true - mean).square() + torch.diagonal(posterior, dim1=1, dim2=2)
        variance = torch.maximum(spread.mean(0), least)
    back = torch.linalg.inv(basis)
    shrunk = posterior @ torch.diag(1 / variance)  # share of the mean in a tilt
    of_mean = torch.linalg.inv(torch.linalg.inv(covariance + torch.diag(variance)).sum(0))
    posterior = posterior + shrunk @ of_mean @ shrunk.transpose(1, 2)
    true, posterior = true @ back.T, back @ posterior @ back.T
    strain = torch.isin(active, torch.tensor([SCAN.start, *STRAIN])).nonzero()[:, 0]
    if len(strain) and not free_strain:
        along = torch.linalg.solve(posterior[:, strain][:, :, strain], posterior[:, strain])
        true = true - torch.einsum("s,tsc->tc", true[:, strain].mean(0), along)
    return true, torch.diagonal(posterior, dim1=1, dim2=2).sqrt()


def _tied(number: int) -> Float[Tensor, "tied parameter"]:
    """Return the combinations of parameters of which each has a spread of its own over the tilts."""
    basis = torch.eye(number, dtype=torch.float64)
    basis[SCAN, SCAN] = SCAN_SHAPES.reshape(4, 4).T
    return basis


def significant(
    values: Float[Tensor, "tilt parameter"], errors: Float[Tensor, "tilt parameter"]
) -> Float[Tensor, "tilt parameter"]:
    """Return values without those parameters whose common mean and spread their errors explain: these become zero.

    What a noisy series does not tell is not worth the noise.
    """
    mean, spread = _common(values, errors)
    variance = errors.square().clamp_min(torch.finfo(errors.dtype).tiny)
    error = (1 / (1 / (variance + spread)).sum(0)).sqrt()
    differ = ((values - mean).square() / variance).sum(0) - (len(values) - 1)
    tells = (mean.abs() > SIGNIFICANT * error) | (differ > SIGNIFICANT * math.sqrt(2 * max(len(values) - 1, 1)))
    return torch.where(tells | (errors == 0).any(0), values, torch.zeros_like(values))


def _common(values: Tensor, errors: Tensor) -> tuple[Float[Tensor, " parameter"], Float[Tensor, " parameter"]]:
    """Return mean and variance of every parameter over the tilts, beyond its errors."""
    variance = torch.where(errors > 0, errors, torch.ones_like(errors)).square()
    weight = 1 / variance
    total = weight.sum(0)
    mean = (weight * values).sum(0) / total
    excess = (weight * (values - mean).square()).sum(0) - (len(values) - 1)
    room = total - weight.square().sum(0) / total
    spread = (excess / room.clamp_min(torch.finfo(room.dtype).tiny)).clamp_min(0) * (len(values) > 1)
    weight = 1 / (variance + spread)
    return (weight * values).sum(0) / weight.sum(0), spread


def _active(run: Run, epoch: int, number: int) -> Tensor:
    """Return the indices of the parameters that are looked for in a `number` of tilts."""
    settings, chosen = run.settings.calibration, torch.zeros(NUM_PARAMETERS, dtype=torch.bool)
    chosen[SCAN], chosen[DESCAN], chosen[FOCUS] = settings.scan, settings.descan, settings.focus
    chosen[BACKGROUND], chosen[BLUR] = settings.background, settings.blur
    chosen[SCAN.start] = settings.scan and (settings.scan_scale or number >= FEWEST_TILTS)
    chosen[list(STRAIN)] = settings.scan and settings.scan_strain
    chosen[ZERO_ANGLE] = settings.descan and not run.settings.probe.active(epoch)
    return chosen.nonzero()[:, 0]


def _widths(positions: Float[Tensor, "pos 2"]) -> Float[Tensor, " parameter"]:
    """Return the standard deviations expected of the parameters of a tilt."""
    extent = positions.abs().max().clamp_min(1.0).item()
    widths = torch.empty(NUM_PARAMETERS, dtype=torch.float64)
    widths[SCAN], widths[DESCAN] = SCAN_WIDTH, DESCAN_WIDTH / extent
    widths[ZERO_ANGLE], widths[FOCUS] = ZERO_ANGLE_WIDTH, FOCUS_WIDTH
    widths[BACKGROUND], widths[BLUR] = BACKGROUND_WIDTH, BLUR_WIDTH
    return widths


def _own_sums(state: TomographyState, patterns: TiltPatterns, index: int, run: Run) -> Tensor:
    """Return this rank's share of a tilt's gradient, Gauss-Newton matrix, and sum of squared gradients, flat."""
    tilt, geometry = plan_tilt(state, patterns, index, run), run.geometry
    chosen = calibrating_positions(len(state.positions[index]), index, run.settings)
    own, measured = read_usable(patterns, own_positions(chosen, run.mesh.group))
    batch, _ = local_batch(state, tilt, run, batch=chosen, own=own, measured=measured, halo=sensitivities.HALO)
    response = sensitivities.pattern_response(
        batch,
        wavelength=geometry.wavelength,
        sampling=geometry.sampling,
        curvature=LOSSES[run.settings.loss].curvature,
    )
    by_parameter = _directions(state.positions[index][own], electrons_per_pixel(patterns, geometry))
    gradients = torch.einsum("pda,pd->pa", by_parameter, response.gradient)
    hessian = torch.einsum("pda,pde,peb->ab", by_parameter, response.curvature, by_parameter)
    scatter = torch.einsum("pa,pb->ab", gradients, gradients)
    return torch.cat([gradients.sum(0), hessian.reshape(-1), scatter.reshape(-1)])


def _directions(positions: Float[Tensor, "pos 2"], per_pixel: float) -> Float[Tensor, "pos direction parameter"]:
    """Return how the directions of `sensitivities` depend on the parameters at every position.

    `per_pixel` are the electrons that a background of 1 has.
    """
    result = torch.zeros((len(positions), sensitivities.DIRECTIONS, NUM_PARAMETERS), dtype=torch.float64)
    result[:, sensitivities.STRETCH, SCAN] = SCAN_SHAPES.reshape(4, 4).T
    result[:, sensitivities.FOCUS, FOCUS] = torch.eye(3, dtype=torch.float64)
    result[:, sensitivities.BACKGROUND, BACKGROUND] = per_pixel
    result[:, sensitivities.BLUR, BLUR] = 1
    for axis in range(2):
        direction, first = sensitivities.DESCAN.start + axis, DESCAN.start + 2 * axis
        result[:, direction, first : first + 2] = positions
        result[:, direction, ZERO_ANGLE.start + axis] = 1
    return result


def _covariances(
    information: Float[Tensor, "tilt n n"], scatter: Float[Tensor, "tilt n n"], likelihood: float
) -> Float[Tensor, "tilt n n"]:
    """Return covariances: by the counting statistics, or with variances by how patterns differ where that is more.

    The latter also holds where the volume is not finished and the loss is no likelihood.
    """
    inverse = torch.linalg.inv(information)
    differing = torch.diagonal(inverse @ scatter @ inverse, dim1=1, dim2=2)
    counting = likelihood * inverse
    factor = (differing / torch.diagonal(counting, dim1=1, dim2=2)).clamp_min(1).sqrt()
    return counting * factor[:, :, None] * factor[:, None, :]


def apply_(state: TomographyState, index: int, found: Float[Tensor, " parameter"], run: Run) -> None:
    """Set the parameters of a tilt, and change its positions and probe accordingly, in place."""
    before, positions, geometry = state.calibration[index], state.positions[index], run.geometry
    centre = positions.mean(0)
    change = scan_matrix(found) @ torch.linalg.inv(scan_matrix(before))
    state.positions[index], _ = within_volume((positions - centre) @ change.T + centre, geometry, positions)
    focus = found[FOCUS] - before[FOCUS]
    if bool(focus.any()):
        probe = state.probes[index]
        factor = focus_change(geometry.window_shape, geometry.sampling, geometry.wavelength, focus)
        state.probes[index] = propagate(probe, factor.to(probe.device, probe.dtype))
    state.calibration[index] = found
