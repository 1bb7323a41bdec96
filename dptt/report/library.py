"""The WebGL library of the page: K3D (MIT licence, on three.js, MIT), as the Python package `k3d` ships it.

It is a dependency, not a copy: this repository holds no code of others, and pip checks and updates it. Nothing of the
package is imported or run by Python; only its file for browsers is read, with its licence, into the page. Of the
libraries looked at it is the smallest that draws isosurfaces and spheres, is kept up, and comes from PyPI with its
script in it: 0.84 MB compressed (plotly: 1.5 MB, with spheres of fixed size on the screen; ipyniivue: 1.6 MB, without
atoms; py3Dmol loads its script from the network).
"""

from importlib.util import find_spec
from pathlib import Path

from dptt.report.embedding import packed

PACKAGE, SCRIPT = "k3d", "static/standalone.js"


def webgl_library() -> tuple[str, str] | None:
    """Return the compressed script and the licences that go with it; None if the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    script = Path(spec.submodule_search_locations[0]) / SCRIPT
    if not script.is_file():
        return None
    notices = [f"K3D-jupyter, https://k3d-jupyter.org, MIT licence{_licence(script)}"]
    beside = script.with_name(f"{script.name}.LICENSE.txt")
    if beside.is_file():
        notices.append(beside.read_text(encoding="utf-8"))
    return packed(script.read_bytes()), "\n\n".join(notices)


def _licence(script: Path) -> str:
    """Return the licence text of the installed package, which must go with a copy of its script."""
    for path in script.parents[2].glob(f"{PACKAGE}-*.dist-info/licenses/LICENSE*"):
        return ":\n" + path.read_text(encoding="utf-8")
    return ""
