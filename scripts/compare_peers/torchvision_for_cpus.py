"""Import this first: lets a torchvision built for CUDA be imported beside a PyTorch for CPUs.

Its compiled operators are missing then, and its `_meta_registrations` refuses to be imported without them. PtyRAD and
pty-chi use its Gaussian blur alone, which is written in Python.
"""

import sys
import types

try:
    import torchvision  # noqa: F401
except RuntimeError:
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
