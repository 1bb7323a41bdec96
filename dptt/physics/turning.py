r"""A tilt taken apart into what it does to every plane of the volume, and what it does to all of them alike.

Of the planes of the volume across z, y and x, those are taken that the beam crosses most directly. A plane n is seen
along the beam without interpolating between planes. Where it lies on the pixels r' = (y', x') of the slices is

    source = M r' + c(n),       c(n) = slope · n + offset,

with a matrix M (2, 2) that all planes share. So every plane is shifted by c(n) alone, with weights that are the same
for all its voxels; it is cut into slices by their boundaries along the beam; and only the slices are brought from the
grid of the shifted planes onto their pixels by M. Both interpolations are band-limited (`sinc_weights`), along one
axis after the other. M is applied as two shears, each of them along one axis:

    first = a r'_1 + b second,      second = c r'_1 + d r'_2

with r' = (y', x'), or (x', y') where psi exceeds 45 degrees. A plane is a layer whose length along the beam is shared
out to the slices by overlap: the potential of a beam path is kept, and slices of one voxel, added up, are thick ones.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.physics.sinc_weights import HALF, ROUNDING, Bands, Resampling, shifting, shifting_slopes

PREFERS_Z = 1e-6
"""By how much cos² of another plane must exceed that of a plane across z."""


@dataclass(frozen=True)
class Turning:
    """A sampling map, taken apart. All coordinates are counted from the centre, voxel n//2."""

    plane: int
    """Axis of the volume across which the planes lie."""
    axes: tuple[int, int]
    """Axes of the volume in a plane, first and second."""
    slope: Float[Tensor, "2"]
    offset: Float[Tensor, "2"]
    depth: Float[Tensor, "4"]
    """Where voxels lie along the beam [planes of the tilted volume]: at 0, per plane, per first, per second."""
    in_plane: Float[Tensor, "2 2"]
    """M of the module's description."""
    shears: Float[Tensor, "4"]
    """a, b, c, d of it."""
    swapped: bool
    """Whether r' is (x', y')."""

    @classmethod
    def of(cls, map_: Float[Tensor, "3 4"]) -> "Turning":
        """Return the parts of a `rotation.sampling_map`, which can be differentiated by it."""
        linear, translation = map_[:, :3], map_[:, 3]
        cosines = linear[:, 0].detach() * torch.linalg.inv(linear.detach())[0]  # squared
        plane = int(torch.argmax(cosines + torch.tensor([PREFERS_Z, 0, 0]).to(cosines)))
        axes = ((1, 2), (0, 2), (1, 0))[plane]
        rows = linear[list(axes)]
        slope = rows[:, 0] / linear[plane, 0]
        in_plane = rows[:, 1:] - slope[:, None] * linear[plane, 1:]
        along = -(linear[plane, 1:] @ torch.linalg.inv(in_plane)) / linear[plane, 0]
        depth = torch.stack([-translation[plane] / linear[plane, 0], 1 / linear[plane, 0], *along])
        swapped = bool(in_plane[1, 0].abs() > in_plane[1, 1].abs())
        (first_1, first_2), (c, d) = in_plane.flip(1) if swapped else in_plane
        shears = torch.stack([first_1 - first_2 * c / d, first_2 / d, c, d])
        offset = translation[list(axes)] - slope * translation[plane]
        return cls(plane, axes, slope, offset, depth, in_plane, shears, swapped)


@dataclass(frozen=True)
class Plan:
    """What turns some rows of a volume into some rows of its slices, and back: all indices and weights."""

    plane: int
    axes: tuple[int, int]
    planes: int
    """Number of planes across `plane`."""
    shifts: tuple[Bands, Bands]
    """By plane: which voxels along the first and the second axis are taken for place 0 of the grid."""
    places: tuple[range, range]
    """Of the grid of the shifted planes, along the first and the second axis, from the centre."""
    outputs: tuple[range, range]
    """Pixels likewise."""
    depth: Float[Tensor, "4"]
    """Where the middle of a voxel's layer lies, from the front of the tilted volume [planes]: at 0, per plane, per
    place along either axis."""
    along: tuple[Resampling | None, Resampling | None]
    """Which places pixels take along the first (lines are places along the second) and then along the second axis
    (lines are pixels along the first); None where pixels are places."""
    swapped: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Number of places along the first and the second axis."""
        return len(self.places[0]), len(self.places[1])

    @cached_property
    def gathered(self) -> tuple[Bands | None, Bands | None]:
        """Weights of places for every pixel, along either axis: compiled code does without these tables."""
        return self._tables(adjoint=False)

    @cached_property
    def shared(self) -> tuple[Bands | None, Bands | None]:
        """Weights of pixels for every place in the adjoint, likewise."""
        return self._tables(adjoint=True)

    def _tables(self, adjoint: bool) -> tuple[Bands | None, Bands | None]:
        first, second = (one and self._moved(one.bands(adjoint)) for one in self.along)
        return first, second

    def _moved(self, bands: Bands) -> Bands:
        like = self.shifts[0].weights
        return Bands(bands.start.to(like.device), bands.weights.to(like))

    def to(self, dtype: torch.dtype, device: torch.device) -> "Plan":
        """Return the plan with weights of this type on this device."""
        first, second = (Bands(start.to(device), w.detach().to(device, dtype)) for start, w in self.shifts)
        along = [one and one._replace(slope=one.slope.detach(), skew=one.skew.detach()) for one in self.along]
        return replace(self, shifts=(first, second), along=(along[0], along[1]), depth=self.depth.detach().cpu())


def plan(
    turning: Turning,
    volume_shape: tuple[int, int, int],
    source: range,
    target: range,
    whole: bool = True,
) -> Plan:
    """Return how the rows `source` of a volume turn into the rows `target` of its slices.

    With `whole`, pixels that are places of the grid are recognised: not where a derivative is wanted, for which the
    places beside them count.
    """
    halves = [n // 2 for n in volume_shape]
    given = [range(n) for n in volume_shape]
    given[1] = source
    planes = given[turning.plane]
    rows, columns = (
        range(target.start - halves[1], target.stop - halves[1]),
        range(-halves[2], given[2].stop - halves[2]),
    )
    outputs = (columns, rows) if turning.swapped else (rows, columns)
    number = torch.tensor(planes, dtype=turning.slope.dtype) - halves[turning.plane]
    places = turning.slope[:, None] * number + turning.offset[:, None]
    grids = _grid(turning, outputs, whole)
    shifts = []
    for i, axis in enumerate(turning.axes):
        place = places[i] + halves[axis]
        start, weights = shifting(place, whole or not place.requires_grad)
        grids[i] = _reached(grids[i], shifting(place, whole), given[axis])
        shifts.append(Bands(start + grids[i].start - given[axis].start, weights))
    a, b, c, d = turning.shears
    moves = _moves(turning, whole)
    first = Resampling(a, b, lines=grids[1], outputs=outputs[0], inputs=grids[0])
    second = Resampling(d, c, lines=outputs[0], outputs=outputs[1], inputs=grids[1])
    return Plan(
        plane=turning.plane,
        axes=turning.axes,
        planes=len(planes),
        shifts=(shifts[0], shifts[1]),
        places=(grids[0], grids[1]),
        outputs=outputs,
        depth=depth_from_front(turning, (planes, grids[0], grids[1]), volume_shape),
        along=(first if moves[0] else None, second if moves[1] else None),
        swapped=turning.swapped,
    )


def depth_from_front(
    turning: Turning, ranges: tuple[range, range, range], volume_shape: tuple[int, int, int]
) -> Float[Tensor, "4"]:
    """Return `Plan.depth` of the `ranges` of planes and of places along both axes."""
    at_0, per_plane, per_first, per_second = turning.depth
    planes, first, second = ranges
    start = at_0 + per_plane * (planes.start - volume_shape[turning.plane] // 2) + volume_shape[0] // 2 + 0.5
    start = start + per_first * first.start + per_second * second.start
    return torch.stack([start, per_plane, per_first, per_second])


def plane_slopes(
    turning: Turning,
    axis: int,
    ranges: tuple[range, range, range],
    volume_shape: tuple[int, int, int],
    source: range,
) -> tuple[Bands, Float[Tensor, " plane"]]:
    """Return `Plan.shifts` along an axis with the derivatives of its weights by c(n), and the places c(n).

    `ranges` are those of planes and of places along both axes.
    """
    number = torch.tensor(ranges[0]).to(turning.slope) - volume_shape[turning.plane] // 2
    places = turning.slope[axis] * number + turning.offset[axis]
    along = turning.axes[axis]
    start, slopes = shifting_slopes(places + volume_shape[along] // 2)
    first = source.start if along == 1 else 0
    return Bands(start + ranges[1 + axis].start - first, slopes), places


def source_rows_of(turning: Turning, volume_shape: tuple[int, int, int], target: range, whole: bool = True) -> range:
    """Return the rows of a volume that the rows `target` of its slices depend on, also those outside of it."""
    if turning.plane == 1:
        return range(volume_shape[1])
    halves = [n // 2 for n in volume_shape]
    rows, columns = (
        range(target.start - halves[1], target.stop - halves[1]),
        range(-halves[2], volume_shape[2] - halves[2]),
    )
    number = torch.tensor([0, volume_shape[turning.plane] - 1]).to(turning.slope) - halves[turning.plane]
    bands = shifting(turning.slope[0] * number + turning.offset[0] + halves[1], whole)
    grid = _grid(turning, (columns, rows) if turning.swapped else (rows, columns), whole)[0]
    start = bands.start + grid.start
    return range(int(start.min()), int(start.max()) + bands.weights.shape[1] - 1 + len(grid))


def _grid(turning: Turning, outputs: tuple[range, range], whole: bool) -> list[range]:
    """Return the places along the first and the second axis that pixels `outputs` take."""
    a, b, c, d = turning.shears.detach()
    moves_first, moves_second = _moves(turning, whole)
    second = _spread(d, c, outputs[1], outputs[0]) if moves_second else outputs[1]
    return [_spread(a, b, outputs[0], second) if moves_first else outputs[0], second]


def _moves(turning: Turning, whole: bool) -> tuple[bool, bool]:
    """Return whether pixels are other places than those of the grid, along either axis."""
    a, b, c, d = turning.shears.tolist()
    first, second = (max(abs(slope - 1), abs(skew)) > ROUNDING / 10 for slope, skew in ((a, b), (d, c)))
    return not whole or first, not whole or second


def _spread(slope: Tensor, skew: Tensor, outputs: range, lines: range) -> range:
    """Return all places within reach of slope · output + skew · line."""
    if not len(outputs) or not len(lines):
        return range(0)
    ends = torch.stack([slope * i + skew * j for i in (outputs[0], outputs[-1]) for j in (lines[0], lines[-1])])
    reach = HALF * max(1.0, abs(float(slope)))
    return range(int(torch.floor(ends.min() - reach)), int(torch.ceil(ends.max() + reach)) + 1)


def _reached(grid: range, bands: Bands, given: range) -> range:
    """Return the places of the grid that any plane reaches with its available voxels."""
    if not len(bands.start) or not len(given):
        return range(grid.start, grid.start)
    low = given.start - int(bands.start.max()) - (bands.weights.shape[1] - 1)
    high = given.stop - int(bands.start.min())
    start = min(max(grid.start, low), grid.stop)
    return range(start, max(start, min(grid.stop, high)))
