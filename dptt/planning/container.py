"""The Python of a container as a program on the host, so that launchers and shell files start it like any other."""

import shlex
from collections.abc import Sequence

NAME = "python.sh"
"""Name of the program in the folder of the job script."""


def container_python(image: str, folders: Sequence[str], gpu: bool) -> str:
    """Return the shell program that runs the Python of the Apptainer image `image`, which sees `folders`.

    Raises
    ------
    ValueError
        Folders have names that Apptainer cannot bind; all of them are listed.
    """
    unbound = [folder for folder in folders if set(folder) & set(":,")]
    if unbound:
        raise ValueError(
            f"--container: apptainer cannot bind {', '.join(map(repr, unbound))}: it reads a colon or a comma in a "
            "name as its own. Rename the folder, or run without a container"
        )
    binds = [f"--bind={folder}" for folder in dict.fromkeys(folders)]
    command = shlex.join(["apptainer", "exec", *(["--nv"] if gpu else []), *binds, image, "python"])
    return f"""#!/bin/bash
# The Python of a container, written by `dptt plan`. What torchrun starts is in the container already.
[ -n "${{APPTAINER_CONTAINER:-}}" ] && exec python "$@"
exec {command} "$@"
"""
