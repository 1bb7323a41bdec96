"""What the documents name exists."""

import re
from pathlib import Path

import pytest

from dptt.cli import COMMANDS

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
