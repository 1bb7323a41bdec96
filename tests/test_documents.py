"""What the documents name exists: files, links, commands, options; what they show loads or compiles."""

import re
from pathlib import Path

import pytest

import dptt
from dptt.cli import COMMANDS, _parse
from dptt.config import Config, load_config
from dptt.config.sentences import setting_names

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "jobs" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each
def test_every_file_that_it_names_exists(document):
    named = re.findall(r"`((?:dptt|tests|scripts|jobs|docs)/[\w./-]*)", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@each
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_the_readme_lists_every_command():
    section = DOCUMENTS[0].read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^dptt (\w+) ", section, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


def test_the_readme_lists_every_configuration():
    listed = re.findall(r"^\| `(\d\d_[\w.]*)`(?: … `(\d\d)_`)?", DOCUMENTS[0].read_text(), re.MULTILINE)
    first, last = listed[-1]
    names = [name for name, _ in listed[:-1]]
    shipped = sorted(path.name for path in (ROOT / "jobs" / "configs").glob("*.yaml"))
    assert names == [name for name in shipped if name < first]
    assert all(name[:2] <= last for name in shipped)


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and MkDocs make them from its headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.M), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each
def test_every_anchor_that_it_links_to_exists(document):
    links = re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", document.read_text())
    assert [
        link for link in links if link[1] not in anchors(document.parent / link[0] if link[0] else document)
    ] == []


@each
def test_every_command_that_it_shows_is_one(document):
    lines = [line.partition(" #")[0].split() for block in blocks(document, "bash") for line in block.splitlines()]
    shown = [line[line.index("dptt") + 1 :] for line in lines if "dptt" in line[:1] or line[1:3] == ["-m", "dptt"]]
    for command in shown:
        if command == ["--help"]:
            continue
        options = _parse([word for word in command if word != "&&"])
        load_config(ROOT / "jobs" / "configs" / "00_minimal.yaml", getattr(options, "overrides", []))


@each
def test_every_configuration_that_it_shows_loads(document, tmp_path):
    for number, text in enumerate(blocks(document, "yaml")):
        (tmp_path / f"{number}.yaml").write_text(text)
        whole = ["series=series.h5", "run=run"]  # a section alone may be shown
        load_config(tmp_path / f"{number}.yaml", [item for item in whole if f"{item.split('=')[0]}:" not in text])


@each
def test_its_python_compiles_and_calls_what_dptt_offers(document):
    for text in blocks(document, "python"):
        compile(text, str(document), "exec")
        assert set(re.findall(r"\bdptt\.(\w+)\(", text)) <= set(dptt.__all__)


@each
def test_every_option_that_it_names_exists(document):
    pattern = (
        r"`((?:import|simulation|volume|brightfield|ptychography|alignment|reconstruction|analysis|distribution)"
    )
    named = re.findall(pattern + r"\.[a-z_.]+)[`:=]", document.read_text())
    assert sorted({name for name in named if not is_option(name) and not name.endswith(".tif")}) == []


def is_option(name: str) -> bool:
    """Return whether a dotted name is an option or a section, or a file of a run or of the code."""
    known = setting_names(Config)
    if any(option == name or option.startswith(f"{name}.") for option in known):
        return True
    return name.endswith((".h5", ".png", ".mrc", ".star", ".tlt", ".xf", ".xtilt", ".json", ".py"))


def test_every_page_is_in_the_navigation_of_the_site():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == pages | {f"notebooks/{path.stem}.md" for path in (ROOT / "docs/notebooks").glob("*.ipynb")}
