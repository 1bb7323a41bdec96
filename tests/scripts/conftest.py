"""The modules of `scripts` are imported from their folder, as Python does when a script there is run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
