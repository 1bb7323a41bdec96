"""One command at a time writes into a folder: a lock file names the process that does.

The lock is refused while its owner lives, and taken over from a dead one. On the same host the owner is dead if its
process is gone, or if another process has its number now. An owner on another host raises a counter in the file;
it is dead if the counter stays as it is for `WATCHED` seconds of the clock of the process that watches. Clocks of two
hosts are never compared.

The lock is created by a hard link to a complete file, which succeeds for one process only, also on network file
systems. Whoever takes over from a dead owner first creates the file ``.dptt-lock.after-TOKEN`` in the same way: only
one process can follow the owner with this token. No process deletes the lock of another.
"""

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dptt.io.errors import ProblemsError
from dptt.io.write_failures import write_failures_reported
from dptt.logs import log

NAME = ".dptt-lock"
OF_SERIES = f"{NAME}.series-"
"""Beginning of the name of a lock of one file, a series, instead of its folder; the name of the file follows."""
BEAT = 1.0
"""[s] Time between two beats of an owner."""
WATCHED = 15.0
"""[s] Time for which the beats of an owner on another host are watched."""


class LockedError(ProblemsError):
    """Another command is writing into the folder."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    token: str
    host: str
    namespace: str
    """Of process numbers: those of two containers on one host mean different processes."""
    pid: int
    started: str
    """When the process started, in units of the kernel, to tell it from a later one with the same number."""
    job: str
    """SLURM job, empty without one."""
    command: str

    def __str__(self) -> str:
        job = f", SLURM job {self.job}" if self.job else ""
        return f"`dptt {self.command}` on host {self.host} (process {self.pid}{job})"


@contextmanager
def locked(folder: Path, command: str, name: str = NAME) -> Iterator[None]:
    """Hold the lock `name` of `folder` for the block.

    Raises
    ------
    LockedError
        Another process holds it; the message names that process.
    """
    lock = _acquire(folder / name, _this_process(command))
    try:
        yield
    finally:
        lock.release()


def refuse_others(folder: Path, pattern: str) -> None:
    """Raise LockedError if a living process holds a lock of `folder` whose name matches `pattern`.

    Locks of dead processes are left for those who want them.
    """
    for path in sorted(folder.glob(pattern)):
        owner = _owner(path)
        if owner is not None and _is_alive(path, owner):
            raise _refusal(path, owner)


class _Lock:
    """A lock that this process holds; a thread raises its counter."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner = path, owner
        self._descriptor = os.open(path, os.O_RDWR)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT):
            beats += 1
            with suppress(OSError):  # a full disk or a network without answer: the next beat may succeed
                os.pwrite(self._descriptor, _beats_text(beats), 0)
                os.fsync(self._descriptor)
            owner = _owner(self._path)
            if owner is not None and owner.token != self._owner.token:
                log.error(
                    f"error: {self._path.parent}: {owner} took over the folder, because this process showed no sign "
                    "of life. It ends now, so that the two do not overwrite each other's results"
                )
                os._exit(1)

    def release(self) -> None:
        """Stop the beats and remove the lock."""
        self._ended.set()
        self._thread.join()
        os.close(self._descriptor)
        owner = _owner(self._path)
        if owner is not None and owner.token == self._owner.token:
            self._path.unlink(missing_ok=True)


def _acquire(path: Path, own: Owner) -> _Lock:
    own_file = path.with_name(f".{path.name}.{own.token}.partial")
    try:
        with write_failures_reported(path):
            own_file.write_bytes(_beats_text(0) + json.dumps(asdict(own)).encode())
        while not _created(path, own_file):
            owner = _owner(path)
            if owner is None:
                continue  # released since
            if _is_alive(path, owner):
                raise _refusal(path, owner)
            if _follows(path, owner, own_file):
                log.warning(
                    f"warning: {path.parent}: took over from {owner}, which ended without completing its work"
                )
                break
        _remove_left_behind(path.parent)
        return _Lock(path, own)
    finally:
        own_file.unlink(missing_ok=True)


def _remove_left_behind(folder: Path) -> None:
    """Remove what processes of this host that were killed while they asked for a lock left in the folder."""
    for path in (*folder.glob(f".{NAME}*.partial*"), *folder.glob(f"{NAME}.after-*")):
        with suppress(FileNotFoundError, ValueError, TypeError, IndexError):
            owner = Owner(**json.loads(path.read_bytes().split(b"\n", 1)[1]))
            if _is_of_this_host(owner) and _started(owner.pid) != owner.started:
                path.unlink()


def _follows(path: Path, dead: Owner, own_file: Path) -> bool:
    """Replace the lock of `dead` by a copy of `own_file`; return False if another process did."""
    claim = path.with_name(f"{NAME}.after-{dead.token}")
    while not _created(claim, own_file):
        claimant = _owner(claim)
        if claimant is None:
            continue  # it has followed or given up
        if _is_alive(claim, claimant):
            raise _refusal(path, claimant)
        if _follows(claim, claimant, own_file):
            break
    try:
        owner = _owner(path)
        if owner is None or owner.token != dead.token:
            return False
        copy = own_file.with_name(f"{own_file.name}.partial")
        copy.write_bytes(own_file.read_bytes())
        os.replace(copy, path)
        return True
    finally:
        claim.unlink(missing_ok=True)


def _created(path: Path, content: Path) -> bool:
    """Create `path` with the content of `content`; return False if it exists."""
    try:
        os.link(content, path)
    except FileExistsError:
        return False
    except OSError as failure:
        if failure.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        try:  # a file system without hard links
            with path.open("xb") as file:
                file.write(content.read_bytes())
        except FileExistsError:
            return False
    return True


def _refusal(path: Path, owner: Owner) -> LockedError:
    subject, doing, other = path.parent, "writing into this folder", "`run` folder"
    if path.name.startswith(OF_SERIES):
        subject, doing, other = path.with_name(path.name.removeprefix(OF_SERIES)), "writing this file", "`series`"
    problem = (
        f"{owner} is {doing}. Wait until it has ended, stop it, or set another {other}. "
        "A lock that a dead process left behind is not an obstacle."
    )
    return LockedError(subject, [problem])


def _owner(path: Path) -> Owner | None:
    """Return who holds the lock, None if nobody does."""
    for _ in range(5):
        try:
            return Owner(**json.loads(path.read_bytes().split(b"\n", 1)[1]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, IndexError):  # without hard links, its owner may be writing it just now
            time.sleep(0.1)
    return Owner(token="damaged", host="unknown", namespace="", pid=0, started="", job="", command="...")


def _beats_text(beats: int) -> bytes:
    return f"{beats:020d}\n".encode()


def _this_process(command: str) -> Owner:
    return Owner(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        namespace=_namespace(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        job=os.environ.get("SLURM_JOB_ID", ""),
        command=command,
    )


def _is_alive(path: Path, owner: Owner) -> bool:
    """Return whether the owner of the lock `path` still runs; watches the beats of one on another host."""
    if _is_of_this_host(owner):
        return _started(owner.pid) == owner.started
    before, end = _first_line(path), time.monotonic() + WATCHED
    while time.monotonic() < end:
        time.sleep(min(BEAT, WATCHED) / 4)
        now = _first_line(path)
        if now is None:
            return False  # released
        if now != before:
            return True
    return False


def _is_of_this_host(owner: Owner) -> bool:
    return owner.host == socket.gethostname() and owner.namespace == _namespace() != ""


def _first_line(path: Path) -> bytes | None:
    try:
        return path.read_bytes().split(b"\n", 1)[0]
    except FileNotFoundError:
        return None


def _namespace() -> str:
    """Return what distinguishes process numbers that may be equal by chance; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when process `pid` started; None if there is no such process, or only its exit status is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
