"""What MkDocs does not do by itself: links to files of the repository, and notebooks as pages.

A link out of `docs` leads nowhere on the site, so its text alone is shown. A notebook becomes a page of its text and
code; it is stored without results.
"""

import json
import re
from pathlib import Path
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")

NOTEBOOK = re.compile(r"\]\((notebooks/\w+)\.ipynb\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page: no links out of the documentation, and the pages of notebooks for notebooks."""
    depth = page.file.src_uri.count("/")

    def replaced(match: "re.Match[str]") -> str:
        leaves = match[0].split("](")[1].count("../") > depth
        return match[1] if leaves else match[0]

    return NOTEBOOK.sub(r"](\1.md)", OUTSIDE.sub(replaced, markdown))


def on_files(files: Any, config: Any) -> Any:
    """Make a page of every notebook, in place of the notebook itself."""
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = File.generated(
            config, file.src_uri.removesuffix(".ipynb") + ".md", content=notebook_text(Path(file.abs_src_path))
        )
        files.append(page)
    return files


def notebook_text(path: Path) -> str:
    """Return a notebook as Markdown: its text, and its code in fences."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    fenced = [
        f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
        for cell, text in zip(cells, texts, strict=True)
    ]
    return "\n\n".join([*fenced, f"[Download this notebook]({path.name})"]) + "\n"
