# ruff: noqa: E501  (the table of faults reads best with one fault a line)
"""Foreign arrays of any orientation become the same tilt series; what does not fit is said before anything is read."""

import itertools
import os

import h5py
import numpy as np
import pytest

from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.arrays import import_arrays
from dptt.io.importers.description import ArraySource, Detector, ListedPositions, RasterScan, SeriesDescription
from dptt.io.importers.foreign_array import open_array

NUM_TILTS, SCAN, DETECTOR = 2, (3, 4), (6, 5)
COUNTS = np.random.default_rng(2).integers(0, 255, (NUM_TILTS, *SCAN, *DETECTOR), dtype=np.uint8)
AXES = ("tilt", "scan_y", "scan_x", "ky", "kx")
ANGLES = (-60.0, 45.0)


def save(path, array) -> ArraySource:
    """Store `array` in the form that the suffix of `path` names."""
    if path.suffix == ".npy":
        np.save(path, array)
        return ArraySource(str(path))
    if path.suffix == ".npz":
        np.savez_compressed(path, other=np.zeros(2), frames=array)
        return ArraySource(str(path), "frames")
    with h5py.File(path, "a") as file:
        file["entry/frames"] = array
    return ArraySource(str(path), "entry/frames")


def describe(*sources, **changes) -> SeriesDescription:
    """Return a sound description of arrays like COUNTS, with `changes`."""
    sound = dict(
        sources=sources,
        axes=AXES,
        tilt_angles=ANGLES,
        scan=RasterScan((0.5, 0.25)),
        detector=Detector((2.0, 1.5)),
        energy=300e3,
        semiangle_cutoff=21.0,
    )
    return SeriesDescription(**(sound | changes))


def imported(folder, description, **options) -> list[np.ndarray]:
    """Return the patterns (positions, ky, kx) of every tilt after the import."""
    import_arrays(description, folder / "series.h5", overwrite=True, **options)
    with TiltSeries.open(folder / "series.h5") as series:
        return [tilt.read(slice(None)) for tilt in series.tilts]


def test_a_probe_comes_along_with_every_tilt_with_or_without_an_axis_of_modes(tmp_path):
    source = save(tmp_path / "counts.npy", COUNTS)
    wave = (np.arange(30) - 7j).reshape(DETECTOR).astype(np.complex64)
    for number, probe in enumerate((wave, np.stack([wave, 2 * wave]))):
        imported(tmp_path, describe(source, probes=(save(tmp_path / f"probe{number}.npy", probe),)))
        with TiltSeries.open(tmp_path / "series.h5") as series:
            for tilt in series.tilts:
                np.testing.assert_array_equal(tilt.probe(), probe if probe.ndim == 3 else probe[None])


def test_a_probe_that_does_not_fit_is_refused(tmp_path):
    source = save(tmp_path / "counts.npy", COUNTS)
    probe = save(tmp_path / "probe.npy", np.ones((3, 5), np.complex64))
    with pytest.raises(
        ImportDescriptionError, match=r"probe has shape \(3, 5\); expected .* at least \(6, 5\) pixels"
    ):
        imported(tmp_path, describe(source, probes=(probe,)))


def test_any_order_of_the_axes_gives_the_same_patterns(tmp_path):
    orders = list(itertools.permutations(range(5)))[::7]
    for number, order in enumerate(orders):
        source = save(tmp_path / f"{number}.{('h5', 'npy', 'npz')[number % 3]}", COUNTS.transpose(order))
        description = describe(source, axes=tuple(AXES[axis] for axis in order))
        found = imported(tmp_path, description, block_bytes=(1, 30 * 5, 10**6)[number % 3])
        np.testing.assert_array_equal(found, COUNTS.reshape(NUM_TILTS, 12, *DETECTOR))
        assert found[0].dtype == np.uint8


def test_tilts_may_be_arrays_of_their_own_with_a_list_of_positions(tmp_path):
    sources = [
        save(tmp_path / f"{number}.h5", counts.reshape(12, *DETECTOR).transpose(1, 0, 2))
        for number, counts in enumerate(COUNTS)
    ]
    listed = save(tmp_path / "positions.npy", np.zeros((12, 2)))
    description = describe(*sources, axes=("ky", "position", "kx"), scan=ListedPositions((listed,)))
    np.testing.assert_array_equal(imported(tmp_path, description), COUNTS.reshape(NUM_TILTS, 12, *DETECTOR))
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert series.tilts[0].scan_shape is None


def test_an_index_selects_from_a_larger_array(tmp_path):
    larger = np.zeros((3, NUM_TILTS + 3, *SCAN, *DETECTOR), np.uint8)
    larger[1, 1::2] = COUNTS
    for suffix in ("h5", "npy"):
        source = save(tmp_path / f"larger.{suffix}", larger)
        description = describe(ArraySource(source.path, source.dataset, (1, slice(1, None, 2))))
        np.testing.assert_array_equal(imported(tmp_path, description), COUNTS.reshape(NUM_TILTS, 12, *DETECTOR))
        one = ArraySource(source.path, source.dataset, (1, 3))
        description = describe(one, axes=AXES[1:], tilt_angles=(45.0,))
        np.testing.assert_array_equal(imported(tmp_path, description), COUNTS[1:].reshape(1, 12, *DETECTOR))


def by_hand(pattern, centre, flips, crop, binning) -> tuple[np.ndarray, np.ndarray]:
    """Bring one foreign pattern into the layout's frame, pixel by pixel, for an odd binning; return it and its mask."""
    shape = [crop[axis] // binning[axis] for axis in (0, 1)]
    result, valid = np.zeros(shape, int), np.ones(shape, bool)
    for y, x, sub_y, sub_x in np.ndindex(*shape, *binning):
        foreign = []
        for axis, (pixel, sub) in enumerate(((y, sub_y), (x, sub_x))):
            angle = (pixel - shape[axis] // 2) * binning[axis] + sub - binning[axis] // 2  # in foreign pixels
            foreign.append(centre[axis] + (-angle if flips[axis] else angle))
        if all(0 <= index < size for index, size in zip(foreign, pattern.shape, strict=True)):
            result[y, x] += int(pattern[tuple(foreign)])
        else:
            valid[y, x] = False
    return result, valid


@pytest.mark.parametrize("shape", [(9, 12), (15, 10), (8, 7)])
def test_centre_flips_crop_and_binning_are_as_done_by_hand(tmp_path, shape):
    patterns = np.random.default_rng(3).integers(0, 255, (1, 2, 2, *shape), dtype=np.uint8)
    source = save(tmp_path / "raw.h5", patterns)
    binnings = ((1, 1), (3, 1), (1, 3), (3, 3))
    flips = ((False, False), (True, False), (False, True), (True, True))
    for (centre, crop), binning, flip in itertools.product(
        (((4, 3), shape), ((1, 5), (6, 6)), ((7, 0), (3, 6))), binnings, flips
    ):
        if any(size % bins for size, bins in zip(crop, binning, strict=True)):
            continue
        detector = Detector(
            (2.0, 1.5), (float(centre[0]), float(centre[1])), False, False, *flip, crop=crop, binning=binning
        )
        description = describe(source, tilt_angles=(0.0,), detector=detector)
        by_hands = [by_hand(pattern, centre, flip, crop, binning) for pattern in patterns.reshape(4, *shape)]
        if not by_hands[0][1].any():
            with pytest.raises(ImportDescriptionError, match="Reduce the crop or the binning"):
                import_arrays(description, tmp_path / "series.h5", overwrite=True)
            continue
        (found,) = imported(tmp_path, description)
        np.testing.assert_array_equal(found, [pattern for pattern, _ in by_hands])
        with TiltSeries.open(tmp_path / "series.h5") as series:
            mask = series.tilts[0].mask()
        valid = by_hands[0][1]
        assert (mask is None) == valid.all(), "a mask is written where it says something"
        assert mask is None or np.array_equal(mask, valid)
        assert found.dtype == (np.uint8 if binning == (1, 1) else np.uint16)


def test_a_detector_with_the_zero_angle_at_the_corner_is_shifted(tmp_path):
    for shape in ((6, 5), (5, 6)):
        patterns = COUNTS.reshape(*COUNTS.shape[:3], *shape)
        source = save(tmp_path / f"{shape[0]}.npy", np.fft.ifftshift(patterns, axes=(3, 4)))
        found = imported(tmp_path, describe(source, detector=Detector((2.0, 1.5), zero_angle_at_corner=True)))
        np.testing.assert_array_equal(found, patterns.reshape(NUM_TILTS, 12, *shape))
        with TiltSeries.open(tmp_path / "series.h5") as series:
            assert series.tilts[0].mask() is None, "an FFT is periodic: every pixel was measured"


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("centre", "binning", "offset"),
    [(3.0, 1, 0.0), (2.75, 1, -0.25), (3.4, 1, 0.4), (2.5, 2, 0.0), (2.0, 2, -0.25), (4.0, 3, 0.0)],
)
def test_what_whole_pixels_leave_of_a_fractional_centre_is_said(tmp_path, flip, centre, binning, offset):
    """Found from a pattern whose electrons are all at the zero angle, shared out over the two pixels about it."""
    line = np.zeros(6)
    line[int(centre)], line[int(centre) + 1] = 1 - centre % 1, centre % 1
    counts = np.broadcast_to(1e3 * line[:, None] * np.eye(5)[2], (2, 3, 4, 6, 5)).astype(np.float32)
    source = save(tmp_path / "raw.npy", counts)
    detector = Detector((2.0, 1.5), (centre, 2.0), flip_y=flip, binning=(binning, 1))
    remarks = import_arrays(describe(source, detector=detector), tmp_path / "series.h5")
    with TiltSeries.open(tmp_path / "series.h5") as series:
        pattern = series.tilts[0].read(slice(1))[0]
    if binning == 1:
        place = np.average(np.arange(6), weights=pattern.sum(1)) - 3
        assert place == pytest.approx(-offset if flip else offset, abs=1e-6)
    said = [remark for remark in remarks if "zero angle lies" in remark]
    assert len(said) == (abs(offset) > 0.1)
    sign = -1 if flip and binning == 1 else 1
    if said and not (flip and binning > 1):
        assert f"({sign * offset:+.2f}, +0.00) pixels, or ({sign * offset * 2 * binning:+.3g}, +0) mrad" in said[0]


def test_rows_beyond_the_edge_of_the_detector_are_named_with_the_cure(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    (remark,) = import_arrays(describe(source, detector=Detector((2.0, 1.5), (1.0, 2.0))), tmp_path / "a.h5")
    assert "2 rows and 0 columns of the 6 x 5 pixels" in remark and "detector.crop" in remark
    cropped = Detector((2.0, 1.5), (1.0, 2.0), crop=(2, 5))
    assert import_arrays(describe(source, detector=cropped), tmp_path / "b.h5") == []


NOISY = np.where(np.arange(COUNTS.size).reshape(COUNTS.shape) % 7 == 3, -0.5, COUNTS).astype(np.float32)
"""Every seventh pixel is negative."""


def test_negative_counts_are_refused_with_the_reason_and_nothing_is_written(tmp_path):
    one = COUNTS.astype(np.int16)
    one[1, 2, 3, 4, 1] = -1
    for array, words in ((NOISY, "tilt 0000: 12 of the first 12"), (one, "tilt 0001: 1 of the first 12")):
        source = save(tmp_path / f"{array.dtype}.npy", array)
        (problem,) = refusal(tmp_path, describe(source))
        assert words in problem and "import.negative" in problem and "mask the pixels" in problem
    assert "1 of 720 valid pixels are negative, the least is -1" in problem


def test_negative_counts_are_clipped_or_kept_as_asked_and_that_is_said(tmp_path):
    source = save(tmp_path / "raw.npy", NOISY)
    expected = {"clip": np.maximum(NOISY, 0), "keep": NOISY}
    for choice, patterns in expected.items():
        path = tmp_path / f"{choice}.h5"
        (remark,) = import_arrays(describe(source, negative=choice), path, block_bytes=7 * 120)
        with TiltSeries.open(path) as series:
            for tilt, wanted in zip(series.tilts, patterns, strict=True):
                np.testing.assert_array_equal(tilt.read(slice(None)), wanted.reshape(12, *DETECTOR))
                assert tilt.dtype == np.float32
        assert f"{(NOISY < 0).sum()} of {NOISY.size} valid pixels are negative, the least is -0.5" in remark
    added = 100 * (expected["clip"].sum() / NOISY.sum(dtype=np.float64) - 1)
    (remark,) = import_arrays(describe(source, negative="clip"), tmp_path / "clip.h5", overwrite=True)
    assert f"adds {added:.3g} % to the mean" in remark


def test_negative_counts_of_masked_pixels_and_of_bins_that_are_positive_do_not_matter(tmp_path):
    counts = COUNTS.astype(np.float32) + 1
    counts[..., 2, 3] = -0.25
    source = save(tmp_path / "raw.npy", counts)
    valid = np.ones(DETECTOR, bool)
    valid[2, 3] = False
    for detector in (
        Detector((2.0, 1.5), mask=save(tmp_path / "mask.npy", valid)),
        Detector((2.0, 1.5), (4.0, 2.0), binning=(3, 1)),
    ):
        assert import_arrays(describe(source, detector=detector), tmp_path / "series.h5", overwrite=True) == []
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert series.tilts[0].read(slice(None)).sum() == pytest.approx(counts[0].sum())


def test_the_flyback_of_every_row_is_left_out(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    found = imported(tmp_path, describe(source, scan=RasterScan((0.5, 0.25), flyback=1)), block_bytes=2 * 30)
    np.testing.assert_array_equal(found, COUNTS[:, :, :3].reshape(NUM_TILTS, 9, *DETECTOR))
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert series.tilts[0].scan_shape == (3, 3)
        expected = [[0.5 * i - 0.5, 0.25 * j - 0.25] for i in range(3) for j in range(3)]
        np.testing.assert_allclose(series.tilts[0].scan_positions(), expected, atol=1e-12)


def test_transposing_the_detector_is_the_same_as_exchanging_its_axes(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    mask = save(tmp_path / "mask.npy", np.arange(30).reshape(DETECTOR) % 7)
    detector = Detector((1.5, 2.0), (1.0, 4.0), transpose=True, flip_y=True, binning=(1, 3), mask=mask)
    found = imported(tmp_path, describe(source, detector=detector))
    with TiltSeries.open(tmp_path / "series.h5") as series:
        found_mask, sampling = series.tilts[0].mask(), series.angular_sampling
    mask = save(tmp_path / "turned.npy", np.ascontiguousarray((np.arange(30).reshape(DETECTOR) % 7).T))
    detector = Detector((1.5, 2.0), (1.0, 4.0), flip_y=True, binning=(1, 3), mask=mask)
    exchanged = describe(source, axes=("tilt", "scan_y", "scan_x", "kx", "ky"), detector=detector)
    np.testing.assert_array_equal(found, imported(tmp_path, exchanged))
    assert found[0].shape == (12, 5, 2) and sampling == (1.5, 6.0)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        np.testing.assert_array_equal(found_mask, series.tilts[0].mask())


def test_a_binned_pixel_is_valid_if_all_its_pixels_are(tmp_path):
    valid = np.ones(DETECTOR, bool)
    valid[0, 0] = valid[5, 3] = False
    mask = save(tmp_path / "mask.npy", valid)
    source = save(tmp_path / "raw.h5", COUNTS)
    imported(tmp_path, describe(source, detector=Detector((2.0, 1.5), (2.5, 2.0), binning=(2, 1), mask=mask)))
    expected = np.ones((3, 5), bool)  # the zero angle of three pixels is at 1, between foreign rows 2 and 3
    expected[0, 0] = expected[2, 3] = False
    with TiltSeries.open(tmp_path / "series.h5") as series:
        np.testing.assert_array_equal(series.tilts[1].mask(), expected)
        np.testing.assert_array_equal(
            series.tilts[1].read(slice(1))[0, 1], COUNTS[1, 0, 0, 2:4].astype(int).sum(axis=0)
        )


@pytest.mark.parametrize(
    ("dtype", "binning", "wide"),
    [
        (np.uint8, (2, 1), np.uint16),
        (np.uint8, (6, 5), np.uint16),
        (np.uint16, (2, 1), np.uint32),
        (np.int16, (2, 1), np.int32),
        (np.int32, (3, 1), np.int64),
        (np.uint32, (2, 5), np.uint64),
        (np.float32, (2, 1), np.float32),
        (">u2", (1, 1), np.uint16),
    ],
)
def test_sums_of_saturated_pixels_do_not_overflow(tmp_path, dtype, binning, wide):
    highest = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e6
    source = save(tmp_path / "raw.h5", np.full(COUNTS.shape, highest, dtype))
    centre = (4.0 if binning[0] == 3 else 3.0, 2.0)  # of bins that do not reach beyond the edge
    (found, _) = imported(tmp_path, describe(source, detector=Detector((2.0, 1.5), centre, binning=binning)))
    assert found.dtype == np.dtype(wide)
    np.testing.assert_array_equal(found, highest * binning[0] * binning[1])


def positions(folder, description) -> list[np.ndarray]:
    """Return the scan positions of every tilt after the import."""
    import_arrays(description, folder / "series.h5", overwrite=True)
    with TiltSeries.open(folder / "series.h5") as series:
        return [tilt.scan_positions() for tilt in series.tilts]


def test_a_raster_is_centred_on_the_rotation_axis_or_where_it_is_said_to_lie(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    first, second = positions(tmp_path, describe(source))
    by_hand = np.array([[0.5 * i - 0.5, 0.25 * j - 0.375] for i in range(3) for j in range(4)])
    np.testing.assert_allclose(first, by_hand, atol=1e-12)
    np.testing.assert_array_equal(first, second)
    (first, _) = positions(tmp_path, describe(source, scan=RasterScan((0.5, 0.25), centre=(1.0, 2.0))))
    np.testing.assert_allclose(first[0], (-1.0, -2.0))
    np.testing.assert_allclose(first[-1], (2 * 0.5 - 1.0, 3 * 0.25 - 2.0))


def test_a_scan_rotated_by_90_degrees_goes_along_x_where_it_went_along_y(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    (found, _) = positions(tmp_path, describe(source, scan=RasterScan((0.5, 0.25), 90.0, (0.0, 0.0))))
    raster = found.reshape(*SCAN, 2)
    np.testing.assert_allclose(raster[1, 0], (0.0, 0.5), atol=1e-12)
    np.testing.assert_allclose(raster[0, 1], (-0.25, 0.0), atol=1e-12)


def test_listed_positions_are_scaled_centred_and_transformed(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    listed = np.random.default_rng(4).normal(size=(NUM_TILTS, 12, 2))
    for array in (listed, listed.reshape(NUM_TILTS, *SCAN, 2)):
        all_tilts = save(tmp_path / f"all{array.ndim}.npy", array)
        exchange = ListedPositions((all_tilts,), 10.0, (3.0, 4.0), ((0.0, 1.0), (-1.0, 0.0)))
        found = positions(tmp_path, describe(source, scan=exchange))
        expected = np.stack([10 * listed[..., 1] - 4.0, -(10 * listed[..., 0] - 3.0)], axis=-1)
        np.testing.assert_allclose(found, expected)
    each = tuple(save(tmp_path / f"each{number}.h5", array) for number, array in enumerate(listed))
    np.testing.assert_allclose(positions(tmp_path, describe(source, scan=ListedPositions(each))), listed)
    np.testing.assert_allclose(positions(tmp_path, describe(source, scan=ListedPositions(each[:1])))[1], listed[0])


def test_poses_optics_and_provenance_are_stored(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    angles = save(tmp_path / "angles.npz", np.array(ANGLES))
    description = describe(
        source,
        tilt_angles=angles,
        tilt_sign=-1,
        phi=(0.1, 0.2),
        psi=(0.3, 0.4),
        translations=((1.0, 2.0), (3.0, 4.0)),
        aberrations={"defocus": 200.0, "C30": 1e4},
        detector=Detector((2.0, 1.5), binning=(2, 1), counts_per_electron=3.0),
        config="a: 1",
    )
    progress = []
    import_arrays(
        description,
        tmp_path / "series.h5",
        progress=lambda *step: progress.append(step),
        compression="gzip",
        block_bytes=7 * 30,
    )
    assert progress == [(7, 24), (12, 24), (19, 24), (24, 24)]
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert [tilt.euler_angles for tilt in series.tilts] == [(0.1, 60.0, 0.3), (0.2, -45.0, 0.4)]
        assert [tilt.translation for tilt in series.tilts] == [(1.0, 2.0), (3.0, 4.0)]
        assert (series.energy, series.semiangle_cutoff, series.angular_sampling) == (300e3, 21.0, (4.0, 1.5))
        tilt = series.tilts[0]
        assert (tilt.aberrations["C10"], tilt.aberrations["C30"], tilt.counts_per_electron) == (-200.0, 1e4, 3.0)
        assert (tilt.scan_shape, series.header.source, series.header.config) == (SCAN, source.path, "a: 1")


def test_data_that_need_no_change_can_be_linked_to(tmp_path):
    (tmp_path / "raw").mkdir()
    sources = [save(tmp_path / f"raw/{number}.h5", counts) for number, counts in enumerate(COUNTS)]
    description = describe(*sources, axes=AXES[1:], detector=Detector((2.0, 1.5), (3.0, 2.0)), link=True)
    found = imported(tmp_path, description)
    np.testing.assert_array_equal(found, COUNTS.reshape(NUM_TILTS, 12, *DETECTOR))
    with h5py.File(tmp_path / "series.h5") as file:
        link = file["tilts/0001"].get("data", getlink=True)
    assert (link.filename, link.path) == (os.path.join("raw", "1.h5"), "entry/frames")
    (tmp_path / "elsewhere").mkdir()
    np.testing.assert_array_equal(imported(tmp_path / "elsewhere", description), found)


def refusal(folder, description) -> tuple[str, ...]:
    """Return the problems for which the import is refused; nothing must have been read or written."""
    before = sorted(os.listdir(folder))
    with pytest.raises(ImportDescriptionError) as failure:
        import_arrays(description, folder / "series.h5")
    assert sorted(os.listdir(folder)) == before
    return failure.value.problems


def test_dark_and_gain_are_applied_before_anything_else_in_the_frame_of_the_source(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    random = np.random.default_rng(8)
    dark, gain = random.random((7, *DETECTOR)), random.random(DETECTOR)
    references = dict(dark=save(tmp_path / "dark.npy", dark), gain=save(tmp_path / "gain.npy", gain))
    corrected = (COUNTS.reshape(NUM_TILTS, 12, *DETECTOR) - dark.mean(0)) * gain
    found = imported(tmp_path, describe(source, detector=Detector((2.0, 1.5), **references), negative="keep"))
    np.testing.assert_allclose(found, corrected, rtol=1e-5, atol=1e-5)
    assert found[0].dtype == np.float32
    turned = Detector((2.0, 1.5), transpose=True, flip_y=True, **references)
    plain = Detector((2.0, 1.5), transpose=True, flip_y=True)
    found = imported(tmp_path, describe(source, detector=turned, negative="keep"))
    by_hand = save(tmp_path / "corrected.npy", corrected.reshape(COUNTS.shape).astype(np.float32))
    expected = imported(tmp_path, describe(by_hand, detector=plain, negative="keep"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    only_gain = Detector((2.0, 1.5), gain=references["gain"])
    np.testing.assert_allclose(
        imported(tmp_path, describe(source, detector=only_gain)),
        COUNTS.reshape(NUM_TILTS, 12, *DETECTOR) * gain,
        rtol=1e-5,
    )


def faults(source):
    """Yield a change of a sound description and the message it must give."""
    path, detector = source.path, Detector
    angles = ArraySource(path, "entry/frames", (slice(2), 0, 0, slice(6), 0))
    yield {"energy": -1.0}, "energy is -1.0; expected finite and greater than zero [eV]"
    yield {"semiangle_cutoff": np.nan}, "semiangle_cutoff is nan; expected finite and greater"
    yield {"tilt_sign": 2}, "tilt_sign is 2; expected 1 or -1"
    yield {"aberrations": {"C99": 1.0}}, "aberration 'C99' is not known; expected one of C10"
    yield {"aberrations": {"C10": np.inf}}, "aberration C10 is inf; expected a finite"
    yield {"aberrations": {"C10": 1.0, "defocus": 1.0}}, "both C10 and defocus (= -C10); expected one"
    yield {"scan": RasterScan((0.5, 0.0))}, "scan.step is (0.5, 0.0); expected finite and greater than zero"
    yield {"scan": RasterScan((0.5, 0.5), np.nan)}, "scan.rotation is nan"
    yield {"scan": RasterScan((0.5, 0.5), flyback=-1)}, "scan.flyback is -1; expected 0 or more"
    yield {"scan": RasterScan((0.5, 0.5), flyback=4)}, "scan.flyback is 4 of 4 patterns per row; expected some"
    yield (
        {"link": True, "scan": RasterScan((0.5, 0.5), flyback=1)},
        "link is set, but scan.flyback leaves patterns out",
    )
    yield {"link": True, "negative": "clip"}, "link is set, but negative is clip, which changes the patterns"
    yield {"scan": RasterScan((0.5, 0.5), 0.0, (np.nan, 0.0))}, "scan.centre is (nan, 0.0); expected finite numbers"
    yield {"scan": ListedPositions((source,), -1.0)}, "scan.unit is -1.0"
    yield {"scan": ListedPositions((source,), matrix=((1.0, 1.0), (1.0, 1.0)))}, "expected one that can be inverted"
    yield (
        {"scan": ListedPositions((source,))},
        "have shape (2, 3, 4, 6, 5); expected (12, 2) or (3, 4, 2) or (2, 12) or (2, 12, 2)",
    )
    yield {"scan": ListedPositions((source,) * 3)}, "scan has 3 sources; expected 1, or one for each of the 2 tilts"
    yield {"scan": ListedPositions((ArraySource("no.h5", "a"),))}, "no.h5: there is no such file"
    yield {"detector": detector((0.0, 1.0))}, "detector.angular_sampling is (0.0, 1.0)"
    yield {"detector": detector((1.0, 1.0), counts_per_electron=0.0)}, "detector.counts_per_electron is 0.0"
    yield {"detector": detector((1.0, 1.0), binning=(0, 1))}, "detector.binning is (0, 1); expected 1 or more"
    yield {"detector": detector((1.0, 1.0), binning=(1, 2))}, "binning is 2 along kx, of 5 pixels; expected a divisor"
    yield {"detector": detector((1.0, 1.0), crop=(7, 5))}, "detector.crop is 7 along ky; expected 1 to 6 pixels"
    yield {"detector": detector((1.0, 1.0), (3.0, 5.0))}, "detector.centre is 5.0 along kx; expected 0 to 4 pixels"
    yield {"detector": detector((1.0, 1.0), (3.0, 2.0), True)}, "zero_angle_at_corner is set; expected only one"
    yield {"detector": detector((1.0, 1.0), mask=source)}, "detector.mask has shape (2, 3, 4, 6, 5); expected (6, 5)"
    yield {"detector": detector((1.0, 1.0), dark=source, gain=source), "link": True}, "detector.gain changes the patt"
    yield {"detector": detector((1.0, 1.0), dark=angles)}, "detector.dark has shape (2, 6); expected (..., ky, kx)"
    yield {"axes": ("tilt", "scan_y", "scan_x", "qy", "kx")}, "axes has qy; expected names out of tilt, position"
    yield {"axes": ("tilt", "scan_y", "scan_x", "kx", "kx")}, "expected each name once"
    yield {"axes": ("tilt", "scan_y", "scan_x", "kx")}, "expected ky and kx among them"
    yield {"axes": ("tilt", "scan_y", "ky", "kx")}, "expected either position, or scan_y and scan_x"
    yield {"axes": ("tilt", "position", "ky", "kx")}, "scan has a step, but axes has no scan_y and scan_x"
    yield {"axes": AXES[1:]}, "has shape (2, 3, 4, 6, 5) (after its index); expected 4 axes"
    yield {"sources": ()}, "there are no sources; expected one array with a tilt axis"
    yield {"sources": (source, source)}, "axes has tilt, but there are 2 sources; expected one"
    yield {"sources": (ArraySource("absent.h5", "a"),)}, "absent.h5: there is no such file. Check the path"
    yield {"sources": (ArraySource("absent.npy"),)}, "absent.npy: there is no such file"
    yield {"sources": (ArraySource("absent.npz", "a"),)}, "absent.npz: there is no such file"
    yield (
        {"sources": (ArraySource(path, "frames"),)},
        "has no dataset 'frames'; it has: entry/frames. Name one of these",
    )
    yield {"sources": (ArraySource(path, "entry/frames", (0,) * 6),)}, "has 6 entries; expected at most 5"
    yield {"sources": (ArraySource(path, "entry/frames", (2,)),)}, "index 2 is not in an axis of 2; expected 0 to 1"
    yield {"sources": (ArraySource(path, "entry/frames", (slice(None, None, -1),)),)}, "has a step below 1"
    yield {"sources": (ArraySource(path, "entry/frames", (slice(2, 2),)),)}, "expected no empty axis"
    yield {"tilt_angles": (1.0, 2.0, 3.0)}, "tilt_angles has 3 entries; expected 2, one per tilt of the sources"
    yield {"tilt_angles": (1.0, np.nan)}, "tilt_angles is (1.0, nan); expected finite numbers"
    yield (
        {"tilt_angles": ArraySource(path, "entry/frames", (0, 0, 0, 0))},
        "have shape (5,); expected (2,), one per tilt",
    )
    yield {"probes": (source,) * 3}, "probe has 3 sources; expected 1, or one for each of the 2 tilts"
    yield {"phi": (0.0,)}, "phi has 1 entry; expected 2"
    yield {"psi": (0.0,)}, "psi has 1 entry; expected 2"
    yield {"translations": ((0.0, 0.0),)}, "translations has 1 entry; expected 2"
    yield (
        {"link": True},
        "link is set, but the axes are ('tilt', 'scan_y', 'scan_x', 'ky', 'kx'); expected ('position'",
    )
    yield (
        {"link": True, "detector": detector((1.0, 1.0), (3.0, 1.0))},
        "centre, flips, crop or binning change the patt",
    )
    yield (
        {"link": True, "sources": (ArraySource(path, "entry/frames", (slice(None),)),)},
        "frames has an index. Set li",
    )


def test_each_fault_of_a_description_is_reported(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    for change, message in faults(source):
        found = refusal(tmp_path, describe(source, **change))
        assert any(message in problem for problem in found), f"{message!r} is not in {found}"


def test_all_faults_are_reported_at_once(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    description = describe(
        source,
        energy=0.0,
        tilt_angles=(0.0,),
        scan=RasterScan((-1.0, 1.0)),
        detector=Detector((1.0, 1.0), (9.0, 2.0), binning=(4, 1)),
    )
    assert len(refusal(tmp_path, description)) == 5


def test_sources_of_different_detectors_and_types_are_refused(tmp_path):
    one = save(tmp_path / "one.npy", COUNTS[0])
    other = save(tmp_path / "other.npy", COUNTS[1, ..., :4].astype(complex))
    problems = refusal(tmp_path, describe(one, other, axes=AXES[1:]))
    assert any("type complex128; expected real numbers" in problem for problem in problems)
    assert any("sources have detectors of [(6, 4), (6, 5)]; expected one shape" in problem for problem in problems)


def test_damaged_numpy_files_are_named(tmp_path):
    (tmp_path / "bad.npy").write_text("no numbers")
    (tmp_path / "bad.npz").write_text("no numbers")
    for source in (ArraySource(str(tmp_path / "bad.npy")), ArraySource(str(tmp_path / "bad.npz"), "a")):
        assert "cannot be read by NumPy" in refusal(tmp_path, describe(source))[0]


def test_a_source_is_never_overwritten(tmp_path):
    source = save(tmp_path / "raw.h5", COUNTS)
    before = (tmp_path / "raw.h5").read_bytes()
    with pytest.raises(ImportDescriptionError, match="is one of the sources, which are never changed"):
        import_arrays(describe(source), tmp_path / "raw.h5", overwrite=True)
    with pytest.raises(FileExistsError):
        import_arrays(describe(save(tmp_path / "raw.npy", COUNTS)), tmp_path / "raw.h5")
    assert (tmp_path / "raw.h5").read_bytes() == before


def test_blocks_are_read_from_the_foreign_file_and_no_more(tmp_path, monkeypatch):
    source = save(tmp_path / "raw.h5", COUNTS)
    sizes = []
    read = h5py.Dataset.__getitem__

    def watched(dataset, *arguments, **options):
        found = read(dataset, *arguments, **options)
        if dataset.name == "/entry/frames":
            sizes.append(found.nbytes)
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    import_arrays(describe(source), tmp_path / "series.h5", block_bytes=4 * 30)
    assert sizes == [4 * 30] * 6


def test_the_third_party_tilt_series_is_imported_as_its_forward_model_says(tmp_path, shared_data):
    path = str(shared_data / "mset_auNP_4dstem_tilt_sim" / "mset_auNP_4dstem_tilt.h5")
    with h5py.File(path) as file:
        raw, angles, calibration = file["data"][()], file["tilt_deg"][()], dict(file.attrs)
        slices = file["gt/slices_0deg_V_A"][()].transpose(2, 1, 0)  # (x, y, z) -> (z, y, x)
    wavelength = calibration["wavelength_A"]
    sampling = 1e3 * wavelength * calibration["dk_invA"]
    description = describe(
        ArraySource(path, "data"),
        axes=("tilt", "scan_x", "scan_y", "kx", "ky"),
        tilt_angles=ArraySource(path, "tilt_deg"),
        tilt_sign=-1,
        scan=RasterScan((0.4, 0.4), centre=(4.8, 4.8)),
        detector=Detector((sampling, sampling), (12.0, 12.0)),
        aberrations={"C10": 200.0},
    )
    import_arrays(description, tmp_path / "series.h5")
    k_y, k_x = np.meshgrid(*[np.fft.fftfreq(72, 9.6 / 72)] * 2, indexing="ij")
    k_squared = k_y**2 + k_x**2
    aperture = (1e3 * wavelength * np.sqrt(k_squared) <= 21) * np.exp(-1j * np.pi * wavelength * 200 * k_squared)
    propagator = np.exp(-1j * np.pi * wavelength * 2 * k_squared)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert [tilt.euler_angles[1] for tilt in series.tilts] == [-angle for angle in angles]
        np.testing.assert_array_equal(series.tilts[2].read(np.array([24 * 5 + 9]))[0], raw[2, 9, 5].T)
        untilted = series.tilts[4]
        for number in (3 * 24 + 7, 12 * 24 + 20, 21 * 24):
            y, x = untilted.scan_positions()[number] + 4.8  # in the simulation's frame
            wave = np.fft.ifft2(aperture * np.exp(-2j * np.pi * (k_y * y + k_x * x)))
            for potential in slices:
                transmitted = wave * np.exp(1j * calibration["sigma_rad_per_V_A"] * potential)
                wave = np.fft.ifft2(propagator * np.fft.fft2(transmitted))
            simulated = np.abs(np.fft.fftshift(np.fft.fft2(wave)))[24:48, 24:48]
            measured = np.sqrt(untilted.read(np.array([number]))[0])
            assert np.abs(measured - simulated).sum() < 1e-3 * measured.sum()  # 0.07 with x and y exchanged


def test_the_third_party_experiment_is_imported_as_its_readme_says(tmp_path, shared_data):
    path = str(shared_data / "rotavirus_cryo_4dstem_exp" / "rotavirus_64x64_bin2.h5")
    description = describe(
        ArraySource(path, "data"),
        axes=("scan_y", "scan_x", "ky", "kx"),
        tilt_angles=(0.0,),
        scan=RasterScan((31.25, 31.25), -126.0),
        detector=Detector((0.0330771, 0.0330771), (64.0, 63.0)),
        semiangle_cutoff=1.03,
        aberrations={"defocus": -135000.0},
    )
    import_arrays(description, tmp_path / "series.h5")
    with open_array(ArraySource(path, "data")) as array:
        raw = array.read((slice(17, 19), slice(None), slice(None), slice(None)))
    i, j = np.mgrid[:64, :64]
    a = np.deg2rad(-126.0)
    readme = 31.25 * np.stack([i * np.cos(a) - j * np.sin(a), i * np.sin(a) + j * np.cos(a)], -1).reshape(-1, 2)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        (tilt,) = series.tilts
        assert (tilt.scan_shape, tilt.dtype, tilt.aberrations["C10"]) == ((64, 64), np.uint8, 135000.0)
        patterns = tilt.read(slice(17 * 64, 19 * 64))
        np.testing.assert_array_equal(patterns[:, :, 1:], raw.reshape(-1, 128, 128)[:, :, :-1])
        assert not patterns[:, :, 0].any() and np.array_equal(np.argwhere(~tilt.mask().all(0)), [[0]])
        np.testing.assert_allclose(tilt.scan_positions(), readme - readme.mean(axis=0), atol=1e-9)
        mean = patterns.mean(axis=0)
        centre = [np.average(np.arange(128), weights=mean.sum(axis=axis)) for axis in (1, 0)]
        np.testing.assert_allclose(centre, (64, 64), atol=0.5)


def test_a_star_in_the_name_of_a_dataset_stands_for_arrays_that_continue_each_other(tmp_path):
    patterns = COUNTS[0].reshape(12, *DETECTOR)
    path = tmp_path / "parts.h5"
    with h5py.File(path, "w") as file:
        for number, part in ((10, patterns[7:]), (9, patterns[:7])):  # in the order of numbers, not of letters
            file[f"entry/data/data_{number}"] = part
        file["entry/other"] = np.zeros((2, 3, 4))
    source = ArraySource(str(path), "entry/data/data_*", scan_shape=SCAN)
    np.testing.assert_array_equal(
        imported(tmp_path, describe(source, axes=AXES[1:], tilt_angles=(45.0,))), patterns[None]
    )
    for dataset, said in (
        ("entry/*", "do not continue each other: .*/entry/data/data_9 "),
        ("nothing*", r"no dataset 'nothing\*'; it has: entry/data/data_10, entry/data/data_9, entry/other. Name one"),
        (None, r"has 3 arrays of three dimensions or more, not one; it has: .*with a star several"),
    ):
        with pytest.raises(ImportDescriptionError, match=said), open_array(ArraySource(str(path), dataset)):
            pass
