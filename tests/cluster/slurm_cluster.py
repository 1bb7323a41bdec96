"""A real SLURM on one machine: munged, slurmctld and one slurmd a node, all in a folder of their own.

With `Hosts` every node is a host with its own name and network, and the daemons end with the hosts. Where network
namespaces cannot be made, this machine is the only node. Nothing is written to /etc: the configuration, the key of
munge and its socket lie in the folder, and SLURM_CONF names it.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from hosts import CONTROL, CannotSetUpError, Hosts
from ports import free_port

TOOLS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "setpriv")
NODE = "CPUs=64 RealMemory=256000 Gres=gpu:4 State=UNKNOWN"
"""What SLURM is told of every node, so that it accepts the shipped scripts; nothing of it is enforced."""
CONFIGURATION = """
ClusterName=dptt
SlurmctldHost={control}({control_address})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=30
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
"""


class SlurmCluster:
    """SLURM's commands, on a cluster that ends with this object."""

    def __init__(self, hosts: Hosts | None) -> None:
        """Start the daemons on `hosts`, or on this machine alone if there are none.

        Raises
        ------
        CannotSetUpError
            Without root or SLURM's packages, or if the nodes do not come up; with the end of the daemons' logs.
        """
        absent = [tool for tool in TOOLS if shutil.which(tool) is None]
        if os.geteuid() != 0:
            raise CannotSetUpError("SLURM's daemons need root")
        if absent:
            raise CannotSetUpError(f"no {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)")
        self._hosts = hosts
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.nodes = list(hosts.names) if hosts else [socket.gethostname().split(".")[0]]
        self.folder = Path(tempfile.mkdtemp(prefix="dptt-slurm-"))
        self.folder.chmod(0o755)  # munged refuses a folder that its clients cannot enter
        self._environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        for name in [key for key in self._environment if key.startswith("SLURM_") and key != "SLURM_CONF"]:
            del self._environment[name]  # of a job that these tests may run in
        self._configure()
        try:
            self._start()
        except CannotSetUpError:
            self.close()
            raise

    def _configure(self) -> None:
        for name in ("state", *(f"{kind}/{node}" for kind in ("spool", "tmp") for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        if self._hosts:
            lines = [f"NodeName={name} NodeAddr=10.77.0.{11 + i} Port=6818" for i, name in enumerate(self.nodes)]
            control, address, port = CONTROL, "10.77.0.1", 6817
        else:
            port, node_port = free_port(), free_port()
            lines = [f"NodeName={self.nodes[0]} NodeAddr=127.0.0.1 Port={node_port}"]
            control, address = self.nodes[0], "127.0.0.1"
        nodes = "\n".join(f"{line} {NODE}" for line in lines)
        text = CONFIGURATION.format(
            folder=self.folder, control=control, control_address=address, port=port, nodes=nodes
        )
        (self.folder / "slurm.conf").write_text(text)
        # Any four devices will do: GPUs are counted here and not used.
        gpus = "".join(f"Name=gpu File=/dev/{device}\n" for device in ("null", "zero", "full", "random"))
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\n{gpus}")

    def _start(self) -> None:
        names = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        names |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        munge = [f"--{option}={self.folder / name}" for option, name in names.items()]
        self._daemon(CONTROL, ["munged", "--foreground", *munge])
        self._daemon(CONTROL, ["slurmctld", "-D", "-i"])
        for node in self.nodes:
            self._daemon(node, ["slurmd", "-D", "-N", node])
        end = time.monotonic() + 30.0
        while not self.idle:
            if time.monotonic() > end:
                logs = sorted(self.folder.glob("*.log"))
                ends = "".join(f"\n{log.name}: " + " | ".join(log.read_text().splitlines()[-4:]) for log in logs)
                raise CannotSetUpError(f"SLURM's nodes did not come up within 30 s{ends}")
            time.sleep(0.1)

    @property
    def idle(self) -> bool:
        """Return whether no node has anything to do, nor anything to clean up."""
        said = self.run("sinfo", "--noheader", "--states=idle", "--partition=main", "--format=%D")
        return said.stdout.strip() == str(len(self.nodes))

    def _daemon(self, host: str, command: list[str]) -> None:
        silent = subprocess.DEVNULL
        with (self.folder / f"{command[0]}-{host}.out").open("wb") as said:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *self.on(host, command)],
                    env=self._environment,
                    stdin=silent,
                    stdout=said,
                    stderr=said,
                )
            )

    def on(self, host: str, command: list[str]) -> list[str]:
        """Return the command line that runs `command` on a node or on the controller."""
        return self._hosts.on(host, command) if self._hosts else command

    def environment(self, changes: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment in which SLURM's commands find this cluster."""
        return self._environment | (changes or {})

    def run(self, *command: str, changes: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM that ends soon."""
        environment = self.environment(changes)
        return subprocess.run(
            self.on(CONTROL, list(command)), env=environment, capture_output=True, text=True, timeout=30
        )

    def submit(self, *arguments: str, changes: dict[str, str] | None = None) -> str:
        """Submit a script and its arguments; return the job's number."""
        said = self.run("sbatch", *arguments, changes=changes)
        found = re.search(r"Submitted batch job (\d+)", said.stdout)
        assert found, said.stdout + said.stderr
        return found[1]

    def job(self, number: str) -> dict[str, str]:
        """Return what SLURM knows of a job: JobState, Restarts, ExitCode, StartTime, ..."""
        said = self.run("scontrol", "--oneliner", "show", "job", number)
        assert said.returncode == 0, said.stderr
        return dict(word.split("=", 1) for word in said.stdout.split() if "=" in word)

    def close(self) -> None:
        """Cancel all jobs, end the daemons and remove the folder."""
        if not self._hosts:  # on simulated hosts everything ends with them
            self.run("scancel", "--full", "--user=root")
            end = time.monotonic() + 10.0
            while self.run("squeue", "--noheader").stdout.strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(5.0)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
