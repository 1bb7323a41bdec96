import base64
import dataclasses
import io
import re
from functools import partial
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from report_contents import full_content, minimal_content

from dptt.analysis.atoms import TracedAtoms
from dptt.analysis.spectrum import PowerSpectrum
from dptt.report import drawing, render_report, save_figures
from dptt.report import page as page_module
from dptt.report.catalogue import Section, sections
from dptt.report.figures import volume as volumes

VOID = {"meta", "img", "br", "hr", "link"}
ALL = [
    *("projections", "rendering", "absorption", "atoms", "atom_peaks"),
    *("fsc", "fsc_directional", "wedge", "power_spectrum", "loss", "loss_by_tilt", "time", "poses", "scan_positions"),
    "probe",
]


class Page(HTMLParser):
    """Tags must balance; collects the images and the text."""

    def __init__(self, html):
        super().__init__()
        self.open_tags, self.images, self.labels, self.ids, self.links, self.words = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open_tags == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        if tag == "svg" and attrs.get("role") == "img":
            self.labels.append(attrs["aria-label"])
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


@pytest.fixture
def small_pictures(monkeypatch):
    """Every picture is drawn, with few pixels: in half of the time."""
    monkeypatch.setattr(drawing, "DPI", 30)
    monkeypatch.setattr(volumes, "render", partial(volumes.render, pixels=30))


def names(content):
    return [picture.name for section in sections(content) for picture in section.pictures]


def test_page_is_well_formed_and_links_lead_somewhere(full_html):
    page = Page(full_html)
    assert all(link[1:] in page.ids for link in page.links)
    own = [name for name in page.ids if "-" not in name or name.startswith("figure-")]
    assert len(own) == len(set(own))
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", full_html.split("<script", 1)[0]))
    assert used and {a or b for a, b in used} <= set(page.ids)


def test_page_loads_nothing_and_is_small(full_html):
    loading = r"<link|@import|<(?:script|img|iframe|image)[^>]* (?:src|href)=\"(?!data:image/png;base64,|#)"
    assert not re.search(loading, full_html)
    assert "connect-src 'self'" in full_html and len(full_html) < 5e6


def test_every_figure_has_a_text_for_those_who_cannot_see_it(full_html):
    page = Page(full_html)
    texts = [image["alt"] for image in page.images] + page.labels
    assert len(texts) == len(ALL) and all(len(text) > 30 for text in texts)


def test_lines_and_text_follow_the_colours_of_the_page_and_marks_on_images_do_not(full_html):
    svg = re.search(r'<figure id="figure-projections">(.*?)</figure>', full_html, re.DOTALL)[1]
    assert "var(--ink)" in svg and "#000000" not in svg and drawing.INK not in svg
    assert drawing.OUTLINE in svg, "the outline of the scale bar is black on white and on black pages"


def test_a_figure_of_too_many_marks_is_embedded_as_pixels(monkeypatch):
    monkeypatch.setattr(page_module, "LARGE_SVG", 1000)
    only = Section("volume", "Volume", sections(minimal_content())[0].pictures[:1])
    monkeypatch.setattr(page_module, "sections", lambda content: [only])
    (image,) = Page(render_report(minimal_content())).images
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
    height, width = matplotlib.image.imread(io.BytesIO(data), format="png").shape[:2]
    assert 1000 <= width <= 1200 and 200 <= height <= 1500


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


def test_commands_in_sentences_are_code_and_a_difference_is_only_spoken_of_beside_a_truth(small_pictures, full_html):
    assert "the difference, red where the first is higher" in full_html
    page = render_report(dataclasses.replace(minimal_content(), next_steps=["Try `dptt run` & look."]))
    assert "<li>Try <code>dptt run</code> &amp; look.</li>" in page
    assert "the difference, red" not in page and "planes cut.</p>" in page


def test_volume_alone_makes_a_page(small_pictures):
    content = minimal_content()
    assert names(content) == ["projections", "rendering", "wedge"]
    page = Page(render_report(content))
    assert len(page.images + page.labels) == len(names(content))
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


def test_null_and_missing_values_everywhere_still_make_a_page(small_pictures):
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


def test_saved_figures_are_those_of_the_page(small_pictures, tmp_path):
    content = minimal_content(epochs=full_content().epochs)
    paths = save_figures(content, tmp_path)
    assert [path.stem for path in paths] == names(content)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"volume has shape \(3, 4\); expected \(z, y, x\)"):
        minimal_content(volume=np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(ValueError, match=r"truth has shape \(2, 2, 2\)"):
        minimal_content(truth=np.zeros((2, 2, 2), dtype=np.float32))
