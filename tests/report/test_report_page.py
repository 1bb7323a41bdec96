import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from report_contents import full_content, minimal_content

from dptt.analysis.atoms import TracedAtoms
from dptt.analysis.spectrum import PowerSpectrum
from dptt.report import render_report, save_figures
from dptt.report.catalogue import sections

VOID = {"meta", "img", "br", "hr", "link"}
ALL = [
    *("slices_central", "projections", "rendering", "slices_densest", "montage", "absorption", "atoms", "atom_peaks"),
    *("fsc", "fsc_directional", "wedge", "power_spectrum", "loss", "loss_by_tilt", "time", "poses", "scan_positions"),
    "probe",
]


class Page(HTMLParser):
    """Tags must balance; collects the images and the text."""

    def __init__(self, html):
        super().__init__()
        self.open_tags, self.images, self.ids, self.links, self.words = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open_tags == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.links.append(attrs["href"])
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def full_html():
    return render_report(full_content(title='Gold <b>"5 nm"</b> & co'))


def names(content):
    return [picture.name for section in sections(content) for picture in section.pictures]


def test_page_is_well_formed_and_links_lead_somewhere(full_html):
    page = Page(full_html)
    assert all(link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))


def test_page_loads_nothing_and_is_small(full_html):
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:image/png;base64,)", full_html)
    assert len(full_html) < 5e6


def test_every_image_is_a_png_as_wide_as_a_laptop_shows_and_has_a_text(full_html):
    images = Page(full_html).images
    assert len(images) == len(ALL)
    for image in images:
        data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        height, width = matplotlib.image.imread(io.BytesIO(data), format="png").shape[:2]
        assert 1000 <= width <= 1200 and 200 <= height <= 1500
        assert len(image["alt"]) > 30


def test_text_is_escaped(full_html):
    assert "<title>Gold &lt;b&gt;&quot;5 nm&quot;&lt;/b&gt; &amp; co</title>" in full_html
    assert "name: a &lt; b &amp; c" in full_html
    page = Page(full_html)
    assert "dptt reconstruct <config>" in page.text and "b" not in page.open_tags


def test_page_shows_the_numbers(full_html):
    text = Page(full_html).text
    for shown in ("2.14 Å", "2 of 3", "0.042 Å", "0.877", "0.932", "0.12°, 0.34 Å", "17 × 21 × 26", "0f" * 32):
        assert shown in text
    assert "dptt 0.1.0, numpy 2.4" in text


def test_volume_alone_makes_a_page():
    content = minimal_content()
    assert names(content) == ["slices_central", "projections", "rendering", "slices_densest", "montage", "wedge"]
    page = Page(render_report(content))
    assert len(page.images) == len(names(content))
    assert "No provenance was recorded." in page.text


def test_full_content_has_every_figure_in_order():
    assert names(full_content()) == ALL


@pytest.mark.parametrize(
    ("part", "gone"),
    [
        ("epochs", {"loss", "time"}),
        ("tilts", {"poses"}),
        ("probes", {"probe"}),
        ("scan_positions", {"scan_positions"}),
        ("analysis", {"atom_peaks", "fsc", "fsc_directional", "power_spectrum"}),
        ("versions", set()),
    ],
)
def test_a_part_that_is_absent_takes_only_its_figures_along(part, gone):
    empty = {} if part in ("analysis", "versions") else ()
    assert set(ALL) - set(names(full_content(**{part: empty}))) == gone


def test_the_contents_of_these_tests_have_the_names_that_the_analysis_writes():
    analysis = full_content().analysis
    for written, shown in ((TracedAtoms, analysis["atoms"]), (PowerSpectrum, analysis["power_spectrum"])):
        assert set(shown) - {"match"} <= {field.name for field in dataclasses.fields(written)}


def test_null_and_missing_values_everywhere_still_make_a_page(tmp_path):
    volume = np.full((5, 7, 6), np.nan, dtype=np.complex64)
    volume[2, 3, 3] = 1 + 1j
    content = minimal_content(
        volume=volume,
        epochs=[
            {"epoch": 1, "loss": 0.5, "held_out_loss": None, "tilt_losses": [None]},
            {"epoch": 2, "loss": None},
            {},
        ],
        tilts=[
            {"name": "a", "euler_angles": [0, None, 0], "initial_euler_angles": [0, 1, 0]},
            {"loss": 0.2, "euler_angles": None, "translation": [None, 1]},
        ],
        analysis={
            "reference": None,
            "fsc": {"frequency": [0, 0.1, 0.2], "correlation": [1, None, 0.2]},
            "resolution": {"0.5": None, "one-bit": {"resolution_A": None}},
            "directional_fsc": [{"name": "z"}, {"frequency": [0, 0.1], "correlation": [None, None]}],
            "power_spectrum": {"frequency": [0, 0.1], "mean_power": [None, 1.0]},
            "atoms": {"positions": [], "heights": [None], "match": None},
            "poses": None,
        },
    )
    page = Page(render_report(content))
    assert "209 of 210 voxels are not finite" in page.text
    assert "The loss is not finite from epoch 2 on" in page.text


def test_saved_figures_are_those_of_the_page(tmp_path):
    content = minimal_content(epochs=full_content().epochs)
    paths = save_figures(content, tmp_path)
    assert [path.stem for path in paths] == names(content)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"volume has shape \(3, 4\); expected \(z, y, x\)"):
        minimal_content(volume=np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(ValueError, match=r"truth has shape \(2, 2, 2\)"):
        minimal_content(truth=np.zeros((2, 2, 2), dtype=np.float32))
