"""Simulated hosts on one machine: each has a name, a network link that can be cut, and its own /dev/shm.

They live in a process namespace of their own. Ending its first process, as `close` and the death of this process do,
makes the kernel end all that runs on the hosts and remove their networks: nothing of them can outlive the tests, and
nothing outside is changed (no address, no bridge, no line in /etc/hosts).
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("hosts.sh")
CONTROL = "control"
"""The host that holds the bridge between the others; it can reach all of them."""


class CannotSetUpError(Exception):
    """Something that the set-up needs is missing here; the message says what."""


class Hosts:
    """Hosts that see each other through a network, by name."""

    def __init__(self, *names: str) -> None:
        """Bring the hosts up.

        Raises
        ------
        CannotSetUpError
            Without root, the tools of util-linux and iproute2, or the right to make namespaces.
        """
        if os.geteuid() != 0:
            raise CannotSetUpError("simulated hosts need root: network namespaces cannot be made")
        absent = [tool for tool in ("unshare", "nsenter", "setpriv", "ip") if shutil.which(tool) is None]
        if absent:
            raise CannotSetUpError(f"simulated hosts need {' and '.join(absent)} (packages util-linux and iproute2)")
        self.names = names
        self.folder = Path(tempfile.mkdtemp(prefix="dptt-hosts-"))
        said = self.folder / "said"
        namespaces = ["--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--mount", "--uts"]
        with said.open("w") as file:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", SCRIPT, self.folder, *names],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        pids = self.folder / "pids"
        end = time.monotonic() + 20.0
        while not pids.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                words = said.read_text().strip()
                self.close()
                raise CannotSetUpError(f"network namespaces cannot be made here: {words or 'no word within 20 s'}")
            time.sleep(0.01)
        self._pids = dict(line.split() for line in pids.read_text().splitlines())
        (self._first,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()

    def on(self, host: str, command: list[str]) -> list[str]:
        """Return the command line that runs `command` on `host`, in the present folder."""
        here = ["env", "--chdir", os.getcwd()]
        inside = ["nsenter", "--target", self._first, "--pid", "--net", "--mount", "--uts"]
        if host != CONTROL:
            inside += ["nsenter", "--target", self._pids[host], "--net", "--mount", "--uts"]
        return [*inside, *here, *command]

    def cut(self, host: str) -> None:
        """Take down the link between `host` and all others."""
        self._link(host, "down")

    def mend(self, host: str) -> None:
        """Bring the link of `host` up again."""
        self._link(host, "up")

    def _link(self, host: str, state: str) -> None:
        subprocess.run(self.on(CONTROL, ["ip", "link", "set", f"to-{host}", state]), check=True, timeout=20)

    def close(self) -> None:
        """End everything that runs on the hosts, and the hosts."""
        self._process.kill()  # unshare --kill-child passes it on to the first process of the namespace
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
