"""`dptt align` from files to files: projections of `dptt ptycho` or foreign ones, and what is said of bad ones."""

import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

sys.path.append(str(Path(__file__).resolve().parents[1] / "solvers" / "alignment"))
from blobs import PIXEL, THETAS, atoms, disturbed, projections, single_axis  # noqa: E402

from dptt.analysis.poses import TiltPoses, pose_errors  # noqa: E402
from dptt.assembly.alignment import build_projections  # noqa: E402
from dptt.commands.align import align  # noqa: E402
from dptt.config import load_config  # noqa: E402
from dptt.distributed.torch_comm import TorchCommunicator  # noqa: E402
from dptt.io import alignment as alignment_files  # noqa: E402
from dptt.io.alignment import AlignmentError, read_alignment  # noqa: E402
from dptt.io.imod import read_imod  # noqa: E402
from dptt.io.relion import read_relion  # noqa: E402

QUICK = ["alignment.translation_iterations=5", "alignment.angles=false", "alignment.volume_iterations=5"]
TRUE = disturbed(single_axis(), 2.0, 0.0)
IMAGES = projections(atoms(), TRUE).astype(np.float32)


def write_ptychography(run: Path) -> None:
    with h5py.File(run / "ptychography.h5", "w") as file:
        file.attrs["pixel_size_A"] = (PIXEL, PIXEL)
        for number, image in enumerate(IMAGES):
            tilt = file.create_group(f"tilts/{number:04d}")
            tilt["projection"], tilt["illumination"] = image, np.ones_like(image)
            tilt.attrs.update(phi_deg=0.0, theta_deg=THETAS[number], psi_deg=0.0, translation_A=(0.0, 0.0))


def configured(folder: Path, text: str = "", overrides: tuple[str, ...] = ()):
    path = folder / "run.yaml"
    path.write_text(f"series: {folder}/series.h5\nrun: {folder}/run\n{text}")
    (folder / "run").mkdir(exist_ok=True)
    return load_config(path, [*QUICK, *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder of a run on the projections of `dptt ptycho`."""
    folder = tmp_path_factory.mktemp("align")
    config = configured(folder)
    write_ptychography(config.run)
    assert align(config, "what it depends on") == config.run / "alignment.h5"
    return config.run


def worker(index: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/ranks", rank=index, world_size=size)
    read = []
    original = alignment_files.read_array
    alignment_files.read_array = lambda group, name: read.append(f"{group.name}/{name}") or original(group, name)
    align(configured(Path(folder)), "what it depends on", TorchCommunicator())
    Path(folder, f"read-{index}").write_text("\n".join(sorted(name for name in read if "projection" in name)))
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_read_their_own_tilts_and_find_what_one_finds(finished, tmp_path):
    write_ptychography(configured(tmp_path).run)
    torch.multiprocessing.start_processes(worker, (3, str(tmp_path)), nprocs=3, start_method="forkserver")
    read = [(tmp_path / f"read-{index}").read_text().splitlines() for index in range(3)]
    assert sum(read, []) == [f"/tilts/{number:04d}/projection" for number in range(len(IMAGES))]
    alone, shared = (read_alignment(run / "alignment.h5") for run in (finished, tmp_path / "run"))
    np.testing.assert_allclose(shared.volume, alone.volume, atol=1e-3 * alone.volume.max())
    for name, tilt in alone.tilts.items():
        np.testing.assert_allclose(shared.tilts[name].translation, tilt.translation, atol=1e-3)
        assert shared.tilts[name].misfit == pytest.approx(tilt.misfit, rel=1e-3)
    assert (tmp_path / "run" / "alignment_sinogram.png").exists()


def test_the_poses_in_the_file_are_the_true_ones(finished):
    result = read_alignment(finished / "alignment.h5")
    angles = np.array([tilt.euler_angles for tilt in result.tilts.values()])
    translations = np.array([tilt.translation for tilt in result.tilts.values()])
    found = pose_errors(TiltPoses(angles, translations), TiltPoses(TRUE.euler_angles, TRUE.translations))
    assert found.median_translation < 0.2
    assert result.attributes["identity"] == "what it depends on"
    assert {"version_dptt", "config", "tilt_axis_deg", "axis_offset_A"} <= result.attributes.keys()


def test_imod_relion_and_mrc_files_say_the_same(finished):
    result = read_alignment(finished / "alignment.h5")
    expected = np.array([tilt.translation for tilt in result.tilts.values()])
    stem = finished / "alignment"
    imod = read_imod(f"{stem}.tlt", f"{stem}.xf", PIXEL, IMAGES.shape[1:], f"{stem}.xtilt")
    relion, names = read_relion(f"{stem}.star")
    for found in (imod, relion):
        np.testing.assert_allclose(found.translations, expected, atol=1e-6)
    assert names == list(result.tilts)
    with mrcfile.open(f"{stem}.mrc") as file:
        np.testing.assert_array_equal(file.data, result.volume)
        assert float(file.voxel_size.x) == pytest.approx(result.voxel_size[2])


def test_every_figure_is_drawn(finished):
    for name in ("misfits", "poses", "sinogram", "slices"):
        assert (finished / f"alignment_{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_foreign_projections_in_another_order_and_sense_give_the_same_poses(finished, tmp_path):
    np.savez(tmp_path / "foreign.npz", images=IMAGES.transpose(2, 0, 1), angles=-THETAS)
    source = f"path: {tmp_path}/foreign.npz"
    text = (
        f"alignment:\n  projections:\n    {source}\n    dataset: images\n    axes: [x, tilt, y]\n"
        f"    pixel_size: {PIXEL}\n    tilt_angles: {{{source}, dataset: angles}}\n    tilt_sign: -1\n"
    )
    other = read_alignment(align(configured(tmp_path, text), "")).tilts
    for name, tilt in read_alignment(finished / "alignment.h5").tilts.items():
        assert tilt.euler_angles == pytest.approx(other[name].euler_angles, abs=1e-6)
        assert tilt.translation == pytest.approx(other[name].translation, abs=1e-6)


def test_everything_wrong_with_the_projections_is_said_at_once(tmp_path):
    config = configured(tmp_path)
    write_ptychography(config.run)
    with h5py.File(config.run / "ptychography.h5", "a") as file:
        del file["tilts/0003/projection"], file["tilts/0004"].attrs["theta_deg"]
        file["tilts/0003/projection"] = IMAGES[3, :-1]
    with pytest.raises(AlignmentError) as caught:
        align(config, "")
    said = str(caught.value)
    assert "tilts/0003/projection has shape" in said
    assert "tilts/0004 has no attribute theta_deg" in said


def test_projections_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(AlignmentError, match="there is no such file"):
        align(configured(tmp_path), "")


def test_a_list_of_angles_that_does_not_fit_is_refused(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    source = f"path: {tmp_path}/images.npy, pixel_size: 0.5, tilt_angles: [0, 10, 20, 30]"
    text = f"alignment: {{projections: {{{source}}}}}\n"
    with pytest.raises(AlignmentError, match="tilt_angles has 4 entries; expected one for each of 17 tilts"):
        align(configured(tmp_path, text), "")


@pytest.mark.parametrize("name", ["alignment.star", "alignment.xf"])
def test_poses_of_another_program_are_begun_with(finished, tmp_path, name):
    config = configured(tmp_path, overrides=(f"alignment.start={finished / name}",))
    write_ptychography(config.run)
    projected = build_projections(config, config.alignment)
    expected = read_alignment(finished / "alignment.h5").tilts.values()
    np.testing.assert_allclose(projected.euler_angles, [tilt.euler_angles for tilt in expected], atol=1e-5)
    np.testing.assert_allclose(projected.translations, [tilt.translation for tilt in expected], atol=1e-5)


def test_poses_of_another_series_are_refused(finished, tmp_path):
    lines = (finished / "alignment.star").read_text().rstrip().splitlines()
    (tmp_path / "short.star").write_text("\n".join(lines[:-1]) + "\n")
    config = configured(tmp_path, overrides=(f"alignment.start={tmp_path / 'short.star'}",))
    write_ptychography(config.run)
    with pytest.raises(AlignmentError, match=rf"has {len(IMAGES) - 1} poses; expected {len(IMAGES)}"):
        build_projections(config, config.alignment)


def rewritten(finished, folder, change, suffix=".star"):
    """Return the path of the file of poses in `finished` after `change` of the rows, its other lines unchanged."""
    lines = (finished / f"alignment{suffix}").read_text().rstrip().splitlines()
    rows = lines[-len(IMAGES) :]
    (folder / f"changed{suffix}").write_text("\n".join([*lines[: -len(IMAGES)], *change(rows)]) + "\n")
    return folder / f"changed{suffix}"


def projections_from(path, folder):
    config = configured(folder, overrides=(f"alignment.start={path}",))
    write_ptychography(config.run)
    return build_projections(config, config.alignment)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: sorted(rows, key=lambda row: abs(float(row.split()[2]))),
        lambda rows: [f"frames/{row.replace(' ', '.mrc ', 1)}" for row in rows[::-1]],
        lambda rows: [rf"D:\data\{row.replace(' ', '.tif ', 1)}" for row in rows[3:] + rows[:3]],
        lambda rows: [*rows[::-1], "excluded 0 50 0 0 0"],
    ],
    ids=["reversed", "dose-symmetric", "files named after tilts", "paths of Windows", "more tilts"],
)
def test_rows_are_matched_with_tilts_by_name_in_any_order(finished, tmp_path, change):
    projected = projections_from(rewritten(finished, tmp_path, change), tmp_path)
    expected = read_alignment(finished / "alignment.h5").tilts.values()
    np.testing.assert_allclose(projected.euler_angles, [tilt.euler_angles for tilt in expected], atol=1e-5)
    np.testing.assert_allclose(projected.translations, [tilt.translation for tilt in expected], atol=1e-5)


def nameless(rows):
    return [f"image{number} {row.split(maxsplit=1)[1]}" for number, row in enumerate(rows)]


def with_theta(row, change):
    name, phi, theta, *rest = row.split()
    return " ".join([name, phi, str(float(theta) + change), *rest])


def test_rows_without_known_names_are_taken_in_order(finished, tmp_path):
    projected = projections_from(rewritten(finished, tmp_path, nameless), tmp_path)
    expected = read_alignment(finished / "alignment.h5").tilts.values()
    np.testing.assert_allclose(projected.euler_angles, [tilt.euler_angles for tilt in expected], atol=1e-5)


def test_a_common_offset_of_the_angles_is_no_contradiction(finished, tmp_path):
    path = rewritten(finished, tmp_path, lambda rows: [with_theta(row, 12.0) for row in rows])
    same = projections_from(finished / "alignment.star", tmp_path).euler_angles[:, 1]
    np.testing.assert_allclose(projections_from(path, tmp_path).euler_angles[:, 1] - same, 12.0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda rows: nameless(rows[::-1]), len(IMAGES)),
        (lambda rows: nameless([rows[1], rows[0], *rows[2:]]), 2),
        (lambda rows: nameless(rows[1:] + rows[:1]), len(IMAGES)),
        (lambda rows: [with_theta(rows[0], -5.5), *rows[1:]], 1),
    ],
    ids=["reversed", "two exchanged", "shifted by one", "one angle wrong"],
)
def test_angles_that_contradict_the_series_are_refused(finished, tmp_path, change, count):
    path = rewritten(finished, tmp_path, change)
    with pytest.raises(AlignmentError, match=rf"contradict the series for {count} of {len(IMAGES)} tilts: 00"):
        projections_from(path, tmp_path)


def test_imod_angles_in_another_order_than_the_series_are_refused(finished, tmp_path):
    rewritten(finished, tmp_path, lambda rows: rows[::-1], ".tlt")
    path = rewritten(finished, tmp_path, lambda rows: rows, ".xf")
    with pytest.raises(AlignmentError, match="contradict the series"):
        projections_from(path, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows[:-1], rows[-1].replace("00", "x", 1)], "none for 0016"),
        (lambda rows: [*rows, rows[2]], "two for 0002"),
    ],
)
def test_names_that_match_only_some_tilts_are_refused(finished, tmp_path, change, said):
    path = rewritten(finished, tmp_path, change)
    with pytest.raises(AlignmentError, match=said):
        projections_from(path, tmp_path)


def test_a_stack_with_a_text_file_of_angles_is_the_same_as_arrays(tmp_path):
    import mrcfile

    with mrcfile.new(tmp_path / "images.st") as file:
        file.set_data(IMAGES.astype(np.float32))
    np.save(tmp_path / "images.npy", IMAGES.astype(np.float32))
    angles = [float(angle) for angle in np.linspace(-60, 60, len(IMAGES))]
    (tmp_path / "images.rawtlt").write_text("\n".join(f"{angle:8.3f}" for angle in angles))
    sources = [
        f"path: {tmp_path}/images.npy, tilt_angles: {angles}",
        f"path: {tmp_path}/images.st, tilt_angles: {{path: {tmp_path}/images.rawtlt}}",
    ]
    configs = [configured(tmp_path, f"alignment: {{projections: {{{one}, pixel_size: 0.5}}}}\n") for one in sources]
    arrays, texts = (build_projections(config, config.alignment) for config in configs)
    np.testing.assert_array_equal(texts.values, arrays.values)
    np.testing.assert_allclose(texts.euler_angles, arrays.euler_angles, atol=1e-3)


@pytest.mark.parametrize(("empty", "level"), [(slice(None), "1e12"), (slice(3, 4), "auto"), (slice(3, 4), "none")])
def test_projections_of_which_nothing_is_left_above_the_background_are_refused(tmp_path, empty, level):
    """One of thirteen moved the others by half an Å; of all, misfits were NaN, with exit code 0."""
    config = configured(tmp_path, overrides=(f"alignment.background={level}",))
    write_ptychography(config.run)
    with h5py.File(config.run / "ptychography.h5", "r+") as file:
        names = list(file["tilts"])[empty]
        for name in names if level != "1e12" else ():
            file[f"tilts/{name}/projection"][:] = 0
    with pytest.raises(AlignmentError, match=rf"{len(names)} of {len(IMAGES)} projections have no .*: {names[0]}"):
        align(config, "")
    assert not (config.run / "alignment.h5").exists()
