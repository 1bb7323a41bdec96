"""The simulated hosts: what the tests of two hosts and of SLURM stand on."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import Hosts
from launchers import until

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 9), timeout=2)"
OWNER = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from hosts import Hosts
hosts = Hosts("h1")
subprocess.Popen(hosts.on("h1", ["sleep", sys.argv[2]]))
print(hosts.folder, flush=True)
time.sleep(60)
"""


def ask(hosts: Hosts, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(hosts.on(host, list(command)), capture_output=True, text=True, timeout=60)


def is_running(argument: str) -> bool:
    """Return whether a process has `argument` as its last one."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return any(line.split(b"\0")[-2:-1] == [argument.encode()] for line in lines)


def test_every_host_has_its_own_name_and_this_folder(two_hosts):
    said = [ask(two_hosts, host, "sh", "-c", "hostname; pwd").stdout.split() for host in two_hosts.names]
    assert said == [["h1", str(Path.cwd())], ["h2", str(Path.cwd())]]


def test_hosts_reach_each_other_by_name_unless_the_link_is_cut(two_hosts):
    def answer() -> str:
        return ask(two_hosts, "h1", sys.executable, "-c", CONNECT, "h2").stderr

    assert "ConnectionRefusedError" in answer(), "somebody is there, though nobody listens"
    two_hosts.cut("h2")
    try:
        assert "ConnectionRefusedError" not in answer()
    finally:
        two_hosts.mend("h2")
    until(lambda: "ConnectionRefusedError" in answer(), seconds=20.0)


def test_what_runs_on_the_hosts_ends_with_the_process_that_made_them(two_hosts):
    seconds = "4242.17"
    command = [sys.executable, "-c", OWNER, str(Path(__file__).parent), seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            folder = owner.stdout.readline().strip()
            until(lambda: is_running(seconds), seconds=20.0)
        finally:
            owner.send_signal(signal.SIGKILL)
    until(lambda: not is_running(seconds), seconds=20.0)
    shutil.rmtree(folder)  # the names of the hosts: all that is left of them


@pytest.mark.parametrize("file", ["/etc/hosts", "/etc/nsswitch.conf"])
def test_the_names_of_the_hosts_are_known_on_them_alone(two_hosts, file):
    here, there = Path(file).read_text(), ask(two_hosts, "h1", "cat", file).stdout
    assert "10.77.0." not in here
    assert ("10.77.0.12 h2" in there) == (file == "/etc/hosts")
