"""What all steps of an epoch share besides the state that they change."""

from dataclasses import dataclass

from dptt.distributed.mesh import Mesh
from dptt.distributed.slabs import Rows
from dptt.model.forward import Geometry
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups


@dataclass(frozen=True)
class Run:
    """Geometry, settings and ranks of a reconstruction, and the tilt groups of this epoch."""

    geometry: Geometry
    settings: TomographySettings
    mesh: Mesh
    groups: TiltGroups

    @property
    def rows(self) -> Rows:
        """How the rows of the volume are shared out over the slabs."""
        return Rows(self.geometry.volume_shape[1], self.mesh.slab)
