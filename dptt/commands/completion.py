"""`dptt completion`: the script that completes commands, options, files and settings in a shell."""

import argcomplete


def completion(shell: str) -> None:
    """Print the script for `shell`: bash, zsh or fish."""
    print(argcomplete.shellcode(["dptt"], shell=shell))
