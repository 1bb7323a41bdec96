"""`dptt watch`: serve a live page of a run on this machine."""

from pathlib import Path

from dptt.io.errors import ProblemsError
from dptt.logs import log
from dptt.showing.server import open_server


def watch(run: Path, *, port: int = 0, socket_path: Path | None = None) -> None:
    """Serve the page of `run` until interrupted. The job may have begun, or begin later.

    Raises
    ------
    ProblemsError
        `run` is no folder, or the port or socket cannot be opened.
    """
    if not run.is_dir():
        raise ProblemsError(run, ["there is no such folder. Name the `run` folder of a configuration."])
    server, address = open_server(run, port=port, socket_path=socket_path)
    if socket_path is not None:
        log.info(f"on your own computer: ssh -N -L 8765:{socket_path.resolve()} HOST")
        address = address.replace("PORT", "8765")
    log.info(f"open {address}   (Ctrl-C ends)")
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        log.info("ended")
    finally:
        server.server_close()
        if socket_path is not None:
            socket_path.unlink(missing_ok=True)
