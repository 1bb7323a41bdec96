"""`atoms_unfinished.h5`: where a fit of atoms ended that was stopped, in the format of `atoms.h5`, to continue it.

It has no errors and probabilities yet, and goes when the fit is complete.
"""

from pathlib import Path

import numpy as np
import torch

from dptt.assembly.atoms import AtomFit
from dptt.assembly.start import centre_plane_probe
from dptt.io.atoms import COHERENCE, SCANS, AtomsFile, read_atoms, write_atoms
from dptt.io.volumes import ReconstructedTilt
from dptt.model.atoms import Atoms
from dptt.model.coherence import Coherence
from dptt.model.forward import Geometry
from dptt.physics.multislice import propagate
from dptt.solvers.atoms import AtomModel, Progress, Stage

NAME = "atoms_unfinished.h5"
COUNTS = ("stage", "steps", "added", "removed", "vibrating")


def write_progress(run: Path, fit: AtomFit, progress: Progress, identity: str) -> None:
    """Write where the fit is; an earlier file is replaced."""
    atoms, count = progress.model.atoms, len(progress.model.atoms)
    content = AtomsFile(
        positions=atoms.positions.numpy(),
        atomic_numbers=atoms.atomic_numbers.numpy(),
        occupancies=atoms.occupancies.numpy(),
        b_factors=atoms.b_factors.numpy(),
        standard_errors=np.full((count, 5), np.nan),
        probabilities=np.full((count, len(fit.settings.elements)), np.nan),
        elements=np.asarray(fit.settings.elements, dtype=np.int64),
        told=np.zeros(count, dtype=bool),
        attributes={
            "identity": identity,
            **{name: int(getattr(progress, name)) for name in COUNTS},
            "passes": progress.passes,
            **coherence_attributes(progress.model),
        },
        tilts=model_tilts(progress.model, fit.names, _grid(fit, progress.stage)),
    )
    write_atoms(run / NAME, content)


def read_progress(run: Path, fit: AtomFit, identity: str, device: torch.device) -> Progress | None:
    """Return where a fit with the same settings was stopped; None if there is none.

    Raises
    ------
    AtomsError
        The file is damaged.
    """
    if not (run / NAME).exists():
        return None
    stored = read_atoms(run / NAME, numbers=(*COUNTS, "passes"))
    if stored.attributes.get("identity") != identity or set(stored.tilts) != set(fit.names):
        return None
    counts = {name: int(stored.attributes[name]) for name in COUNTS}
    stage, tilts = Stage(counts.pop("stage")), [stored.tilts[name] for name in fit.names]
    geometry = _grid(fit, stage)
    atoms = Atoms(
        torch.from_numpy(stored.positions),
        torch.from_numpy(stored.occupancies),
        torch.from_numpy(stored.b_factors),
        torch.from_numpy(stored.atomic_numbers),
    )
    wave = fit.start.probes[0].dtype
    model = AtomModel(
        atoms,
        tuple(_front(tilt, geometry).to(device, wave) for tilt in tilts),
        torch.tensor([tilt.euler_angles for tilt in tilts], dtype=torch.float64),
        torch.tensor([tilt.translation for tilt in tilts], dtype=torch.float64),
        torch.tensor([[float(t.attributes.get(name, 0.0)) for name in SCANS] for t in tilts], dtype=torch.float64),
        coherence=_coherence(stored, geometry),
    )
    vibrating = bool(counts.pop("vibrating"))
    return Progress(model, stage, **counts, passes=float(stored.attributes["passes"]), vibrating=vibrating)


def discard_progress(run: Path) -> None:
    """Remove the file of a fit that is complete by now."""
    (run / NAME).unlink(missing_ok=True)


def model_tilts(model: AtomModel, names: list[str], geometry: Geometry) -> dict[str, ReconstructedTilt]:
    """Return poses, scans, and probes in the plane of the rotation axis, as files have them."""
    return {
        name: ReconstructedTilt(
            euler_angles=tuple(model.euler_angles[tilt].tolist()),  # type: ignore[arg-type]
            translation=tuple(model.translations[tilt].tolist()),  # type: ignore[arg-type]
            probe=centre_plane_probe(model.probes[tilt].cpu(), geometry).to(torch.complex64).numpy(),
            attributes=dict(zip(SCANS, model.scans[tilt].tolist(), strict=True)),
        )
        for tilt, name in enumerate(names)
    }


def coherence_attributes(model: AtomModel) -> dict[str, float]:
    """Return source size, focal spread and aperture as files have them; none of probes whose modes are free."""
    found = model.coherence
    values = [] if found is None else [found.source_size, found.focal_spread, found.radius]
    return dict(zip(COHERENCE, values, strict=False))


def _coherence(stored: AtomsFile, geometry: Geometry) -> Coherence | None:
    if COHERENCE[0] not in stored.attributes:
        return None
    size, spread, radius = (float(stored.attributes[name]) for name in COHERENCE)
    return Coherence(size, spread, geometry.wavelength, radius)


def _grid(fit: AtomFit, stage: Stage) -> Geometry:
    return (fit.fine if stage > Stage.ELEMENTS else fit.coarse).geometry


def _front(tilt: ReconstructedTilt, geometry: Geometry) -> torch.Tensor:
    assert tilt.probe is not None
    probe = torch.from_numpy(tilt.probe).to(torch.complex128)
    return propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))
