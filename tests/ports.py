"""Ports for the tests' own servers."""

import random
import socket


def free_port() -> int:
    """Return a port that nobody listens at and that the system gives to nobody else, as it deals out 32768 and above.

    Between this call and its use, another process may ask for any port: the ranks of another test do.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as one:
            try:
                one.bind(("", port))
            except OSError:
                continue
        return port
