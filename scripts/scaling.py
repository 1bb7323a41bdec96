#!/usr/bin/env python
"""How a reconstruction scales, measured and predicted.

scaling.py run CONFIG [section.key=value ...] --ranks 1,2,4 --modes scan,slab --out FOLDER
    measure strong and weak scaling; existing measurements are kept
scaling.py tilts CONFIG [section.key=value ...] --groups 1,2,4 --out FOLDER
    measure resolution against epochs and seconds, for tilt groups and for scan mode
scaling.py calibrate CONFIG --out FOLDER [--launcher torchrun]
    measure this machine and its network for CONFIG -> FOLDER/machine.json, for `dptt plan --machine` and `report`
scaling.py report --out FOLDER
    write figures, scaling.json and scaling.md of all measurements, with predictions for 1 to 1024 GPUs
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import torch
from scaling.network import fitted
from scaling.report import write_report
from scaling.resolution import measure_resolution
from scaling.runs import launch_command, measure, measurements

from dptt.assembly.workload import plan_workload
from dptt.config import load_config
from dptt.runtime.machine_rates import measure_machine

NETWORK = Path(__file__).parent / "scaling" / "network.py"


def main() -> None:
    """Run one of the four tasks."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    match options.task:
        case "run":
            _keep_workload(options)
            for run in measurements(options.studies, options.modes, options.ranks):
                measure(
                    run,
                    options.config,
                    options.overrides,
                    launcher=options.launcher,
                    epochs=options.epochs,
                    out=options.out,
                )
        case "tilts":
            for count in options.groups:
                measure_resolution(count, options)
        case "calibrate":
            calibrate(options)
        case "report":
            write_report(options.out)


def calibrate(options: argparse.Namespace) -> None:
    """Write the rates of this machine and of the network between two of its ranks."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # as in the measured runs
    torch.set_num_threads(threads)
    machine = measure_machine(plan_workload(load_config(options.config, options.overrides)))
    ended = subprocess.run(launch_command(options.launcher, 2, [str(NETWORK)]), capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"the network could not be measured:\n{ended.stderr[-3000:]}")
    network = json.loads(ended.stdout.splitlines()[-1])
    latency, bandwidth = fitted(network["ranks"], {int(size): time for size, time in network["seconds"].items()})
    machine = machine.changed(
        latency=latency,
        bandwidth=bandwidth,
        source=f"measured, {threads} thread(s) a rank, {machine.full_speed} rank(s) at full speed; network: "
        f"{options.launcher}, 2 ranks on one host; 10 Gbit/s between hosts assumed",
    )
    machine.save(options.out / "machine.json")
    (options.out / "network.json").write_text(json.dumps(network, indent=1) + "\n")
    print(
        f"wrote {options.out / 'machine.json'}: latency {latency * 1e6:.0f} µs, bandwidth {bandwidth / 1e9:.2f} GB/s"
    )


def _keep_workload(options: argparse.Namespace) -> None:
    """Record the configuration of the runs, for the predictions of the report."""
    workload = {"config": str(options.config), "overrides": options.overrides, "launcher": options.launcher}
    (options.out / "runs.json").write_text(json.dumps(workload, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("run", "tilts", "calibrate", "report"):
        task = tasks.add_parser(name)
        task.add_argument("--out", type=Path, required=True, help="folder of the study")
        if name == "report":
            continue
        task.add_argument("config", type=Path)
        task.add_argument("overrides", nargs="*", default=[], metavar="section.key=value")
        task.add_argument("--launcher", default="torchrun", help="torchrun, or `srun ...`, `mpirun ...`")
        if name == "run":
            task.add_argument("--ranks", type=_numbers, default=[1, 2, 4])
            task.add_argument("--modes", type=lambda text: text.split(","), default=["scan", "slab"])
            task.add_argument("--studies", type=lambda text: text.split(","), default=["strong", "weak"])
            task.add_argument("--epochs", type=int, default=2, help="measured epochs, after one warm-up epoch")
        if name == "tilts":
            task.add_argument("--groups", type=_numbers, default=[1, 2, 4])
            task.add_argument("--epochs", type=int, default=8)
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
