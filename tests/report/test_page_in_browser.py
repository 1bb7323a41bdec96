"""The page in a headless browser: what a reader does with it. Skipped where there is no browser."""

import json
import os
import shutil
import threading
from functools import partial

import numpy as np
import pytest
from report_contents import full_content, minimal_content, small_diffraction

from dptt.report import drawing, render_report
from dptt.report.figures import volume as volumes
from dptt.report.grids import Layer, volume_layers
from dptt.report.library import webgl_library
from dptt.showing import server
from dptt.showing.live import LiveRun

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SOFTWARE = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture(scope="module")
def launch():
    """Return a function that starts the browser; it draws WebGL without a GPU, or not at all."""
    found = os.environ.get("DPTT_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser found: install one of {', '.join(NAMES)}, or set DPTT_BROWSER")
    with sync_api.sync_playwright() as playwright:
        yield partial(playwright.chromium.launch, executable_path=found)


@pytest.fixture(scope="module")
def browser(launch):
    with launch(args=SOFTWARE) as browser:
        yield browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drawing, "DPI", 30)
        patched.setattr(volumes, "render", partial(volumes.render, pixels=30))
        parts = full_content()
        content = minimal_content(
            truth=parts.truth, analysis={"atoms": parts.analysis["atoms"]}, diffraction=small_diffraction()
        )
        path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(render_report(content), encoding="utf-8")
    return path


def opened(browser, path, **options):
    """Return a page that has started, and the list of its errors and of what it asked of the network."""
    page, faults = browser.new_page(viewport={"width": 1300, "height": 1000}, **options), []
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith(("data:", "blob:", "file:")) or faults.append(request.url)
    )
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'", timeout=60_000)
    return page, faults


@pytest.fixture(scope="module")
def shown(browser, page_file):
    return opened(browser, page_file)


def pixels(page, selector):
    """Return the colours of a canvas (row, column, RGBA)."""
    script = """canvas => [canvas.height, canvas.width,
        [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]]"""
    height, width, values = page.locator(selector).first.evaluate(script)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)


def move(page, name, value):
    page.locator(f"input[name={name}]").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


library = pytest.mark.skipif(webgl_library() is None, reason="the package k3d is not installed")


@library
def test_every_part_starts_without_an_error(shown):
    page, faults = shown
    for part in ("slices", "patterns", "space"):
        assert page.locator(f"#{part}").get_attribute("data-ready") == "yes", part
    assert faults == []


def test_a_slider_shows_the_plane_that_its_label_names(shown):
    page, _ = shown
    move(page, "z", 2.4)
    assert "2.40" in page.locator("#slices .slider output").first.inner_text()
    through_atom = pixels(page, "#slices .panel canvas")[..., :3].astype(int).sum()
    move(page, "z", 3.6)
    beside_it = pixels(page, "#slices .panel canvas")[..., :3].astype(int).sum()
    assert through_atom > 1.5 * beside_it, "the atom at z = 2.4 Å is in the first of the planes"


def test_the_slice_has_the_colours_of_the_voxels(shown):
    page, _ = shown
    move(page, "z", 0.0)
    plane = pixels(page, "#slices .panel canvas")[..., :3].astype(int).sum(2)
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    page.locator("#slices .panel canvas").first.hover(
        position={
            "x": (x + 0.5) / plane.shape[1] * page.locator("#slices .panel").first.bounding_box()["width"],
            "y": (y + 0.5) / plane.shape[0] * page.locator("#slices .panel").first.bounding_box()["height"],
        }
    )
    readout = page.locator("#slices .readout").inner_text()
    assert "z 0.00, y 0.00, x 0.00" in readout and "Reconstruction 20.0 V" in readout


def test_a_click_moves_the_other_two_planes(shown):
    page, _ = shown
    before = page.locator("#slices .slider output").all_inner_texts()
    page.locator("#slices .panel canvas").first.click(position={"x": 12, "y": 12})
    after = page.locator("#slices .slider output").all_inner_texts()
    assert after[0] == before[0] and after[1] != before[1] and after[2] != before[2]


def test_the_whole_volume_is_larger_than_the_specimen(shown):
    page, _ = shown
    cropped = pixels(page, "#slices .panel canvas").shape
    page.locator("#slices input[name=all]").check()
    assert pixels(page, "#slices .panel canvas").shape[:2] == (21, 26), "all voxels (y, x) of the volume"
    assert cropped[0] < 21
    page.locator("#slices input[name=all]").uncheck()
    assert page.locator("#slices .panel canvas.voxels").count() == 0
    page.locator("#slices input[name=smooth]").uncheck()
    assert page.locator("#slices .panel canvas.voxels").count() == 9


def test_a_pattern_is_picked_by_a_click_and_by_a_key(shown):
    page, _ = shown
    scan = page.locator("#patterns .wide canvas")
    scan.click(position={"x": 3, "y": 3})
    assert page.locator("#patterns").get_attribute("data-picked") == "1 0"
    measured = page.locator("#patterns h4", has_text="Measured").first.locator("xpath=..").inner_text()
    assert "Position 0: y 0.0, x 0.0" in measured and "100 electrons" in measured
    scan.press("ArrowRight")
    assert page.locator("#patterns").get_attribute("data-picked") == "1 3"


@library
def test_the_view_is_turned_by_dragging(shown):
    page, _ = shown
    stage = page.locator("#space-stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    before = stage.screenshot()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + box["height"] / 2 + 40, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert stage.screenshot() != before
    assert page.locator("#space").get_attribute("data-objects") == "1 3", "a surface and the atoms"
    assert not page.locator("#space-picture").is_visible()


def test_dark_and_light_follow_the_reader(browser, page_file):
    page, faults = opened(browser, page_file, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    page.locator("#theme").click()
    assert page.evaluate(colour) == "rgb(255, 255, 255)" and faults == []
    page.close()


@library
def test_without_webgl_there_is_a_picture(launch, page_file):
    with launch(args=["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]) as browser:
        page, faults = opened(browser, page_file)
        assert page.locator("#space-picture img").is_visible()
        assert "no WebGL" in page.locator("#space").inner_text()
        assert [fault for fault in faults if "WebGL" not in fault] == []


@pytest.fixture
def live(tmp_path, monkeypatch):
    """Return the folder of a run, its served page, and a function that completes epochs, each with a volume."""
    monkeypatch.setattr(server, "POLL", 50)
    potential = np.zeros((4, 5, 6))
    monkeypatch.setattr(LiveRun, "_version", lambda run: (run.folder / "metrics.jsonl").read_text())
    monkeypatch.setattr(
        LiveRun,
        "_read_volume",
        lambda run: (
            volume_layers([Layer("Potential", potential + run.state()["epoch"], (1.0, 1.0, 1.0))])
            | {"epoch": run.state()["epoch"]}
        ),
    )

    def complete(epochs):
        lines = [
            {"epoch": e, "epochs": 30, "loss": 1 / e, "held_out_loss": 2 / e, "tilt_losses": [1.0, 2.0]}
            | {"seconds": {"total": 10.0}}
            for e in range(1, epochs + 1)
        ]
        partial = tmp_path / "partial"
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
        partial.replace(tmp_path / "metrics.jsonl")
        (tmp_path / "run.log").write_text(f"epoch {epochs:03d}/030\n")

    complete(0)
    (tmp_path / "run.log").unlink()
    serving, address = server.open_server(tmp_path)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield serving, address, complete
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_the_live_page_follows_a_run_of_30_epochs(browser, live):
    serving, address, complete = live
    page, faults = browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.goto(address)
    page.wait_for_function("document.body.innerText.includes('No epoch is complete yet')")
    assert "Nothing has been logged yet." in page.inner_text("#log")
    for epoch in (1, 2, 17, 30):
        complete(epoch)
        page.wait_for_function(f"document.getElementById('live').dataset.volume === '{epoch}'", timeout=20_000)
        said = f"Epoch {epoch} of 30" if epoch < 30 else "All 30 epochs are complete."
        for part, text in (("live", said), ("log", f"epoch {epoch:03d}/030")):  # each is fetched at its own time
            page.wait_for_function(f"document.getElementById('{part}').innerText.includes('{text}')", timeout=20_000)
        assert f"Volume after epoch {epoch}." in page.inner_text("#live")
        if epoch == 2:
            move(page, "z", 1.0)
    assert page.locator("input[name=z]").input_value() == "1", "a new volume leaves the slider where it was put"
    assert page.locator("#slices canvas").count() >= 3 and faults == []
    page.close()
