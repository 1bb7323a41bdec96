#!/usr/bin/env python
"""Measure the speed of inner operations, of a tilt-iteration and of an epoch, and the time to the final resolution.

Operations are compared with the bare transforms and with naive automatic differentiation in one run: contestants take
turns, and figures of merit are ratios of medians of `--repeats`. Particles are reconstructed once and evaluated after
every epoch. Results go to DIR/benchmark.json, benchmark.png and particles.png.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does, before torch is loaded

import torch
from benchmark import contestants, figure, particle, parts, tilt
from benchmark.measure import busy_share, peak_bytes, ratio, side_by_side
from benchmark.workloads import GPU_KERNELS, GPU_TILTS, KERNELS, TILTS, Workload, make_batch

from dptt.kernels import Batch

PARTICLES: dict[str, tuple[str, ...]] = {"00_minimal": (), "22_te_nanotube": ()}
"""Shipped configurations, and changes to them."""
COARSE = ("simulation.multislice.slice_thickness=4.92", "simulation.microscope.source_size=0")
GPU_PARTICLES = {"23_te_nanotube_full": COARSE}
"""The reconstruction of [P] fig. 3; simulated with thick slices and a point source, or that would take hours."""
EPOCHS = 10
QUIET = 0.05
"""Share of the cores that other processes may use; beyond it times are unreliable."""


def main() -> None:
    """Time the selected workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=7, help="at least 5; default: %(default)s")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORD",
        help="workloads with this in their name: `kernel`, `tilt`, `epochs`, `parts`",
    )
    parser.add_argument("--quiet-only", action="store_true", help="refuse to run on a machine that is not quiet")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), metavar="DIR")
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error(f"--repeats {options.repeats}: a median needs at least 5")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this PyTorch has no GPU; install a build for CUDA, or use --device cpu")
    torch.set_num_threads(options.threads)
    check_quiet(options.quiet_only)
    wanted = options.only or [""]
    on_gpu = options.device == "cuda"
    results = []
    for workload in KERNELS + GPU_KERNELS * on_gpu:
        if any(word in f"kernel: {workload.name}" for word in wanted):
            batch = make_batch(workload, options.device)
            works = kernels(workload, batch, options.device)
            results.append(measured(workload, f"kernel: {workload.name}", works, options))
            results[-1]["gradient_error"] = errors(batch)
    for one in TILTS + GPU_TILTS * on_gpu:
        if any(word in f"tilt-iteration: {one.name}" for word in wanted):
            bare = contestants.bare_transforms(one.work, options.device)
            works = {"bare": bare, "dptt": tilt.tilt_iteration(one, options.device)}
            if on_gpu:
                works["portable"] = contestants.without_fused_kernel(works["dptt"])
                works["fast"] = tilt.tilt_iteration(one, options.device, fast=True)
            results.append(measured(one.work, f"tilt-iteration: {one.name}", works, options))
    particles = [
        reconstructed(name, changes, options)
        for name, changes in {**PARTICLES, **(GPU_PARTICLES if on_gpu else {})}.items()
        if any(word in f"epochs: {name}" for word in wanted)
    ]
    wanted_parts = options.device == "cpu" and any(word in f"parts: {KERNELS[0].name}" for word in wanted)
    passes = passes_of(KERNELS[0]) if wanted_parts else []
    if not results + particles + passes:
        parser.error(
            f"--only {' '.join(wanted)}: no workload has this in its name; try kernel, tilt, epochs or parts"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(options), "results": results, "particles": particles, "parts": passes}
    (options.output / "benchmark.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if results:
        figure.draw(document, options.output / "benchmark.png")
    if particles:
        figure.draw_particles(document, options.output / "particles.png")
    print(f"written: {', '.join(str(path) for path in sorted(options.output.glob('*.[jp][sn][og]*')))}")


def check_quiet(refuse: bool) -> float | None:
    """Warn, or exit if `refuse`, when other processes use the cores."""
    busy = busy_share()
    if busy is not None and busy > QUIET:
        message = f"other processes use {busy:.0%} of the cores; times and ratios are unreliable"
        if refuse:
            raise SystemExit(f"error: {message}. Stop them, or leave out --quiet-only")
        print(f"warning: {message}")
    return busy


def kernels(workload: Workload, batch: Batch, device: str) -> dict[str, Callable[[], None]]:
    """Return the contestants of a kernel; on a GPU `dptt` is the fused one."""
    works = {
        "bare": contestants.bare_transforms(workload, device),
        "naive": contestants.naive_autograd(workload, batch, device),
        "plain": contestants.plain_kernel(batch),
        "dptt": contestants.kernel(batch),
    }
    if device == "cuda":
        works["portable"] = contestants.without_fused_kernel(works["dptt"])
        works["fast"] = contestants.kernel(replace(batch, fast=True))
    return works


def errors(batch: Batch) -> dict[str, float]:
    """Print and return the errors of gradients against double precision."""
    found = contestants.gradient_errors(batch)
    print("  gradient against double precision:", *(f"{who} {error:.1e}" for who, error in found.items()))
    return found


def measured(workload: Workload, name: str, works: dict, options: argparse.Namespace) -> dict:
    """Print and return the measurements of one workload."""
    peaks = {who: peak_bytes(work) for who, work in works.items()}
    busy = [check_quiet(options.quiet_only)]
    times = side_by_side(works, options.repeats)
    busy.append(busy_share())
    medians = {who: statistics.median(t) for who, t in times.items()}
    ratios = {who: ratio(times, who, "bare") for who in works}
    limits = (workload.to_reach, "x bare transforms"), (workload.seconds_to_reach, "s on an H100")
    print(name, *(f"to reach {limit:.1f} {unit}" for limit, unit in limits if limit), sep="\n  ")
    for who in works:
        peak = "" if peaks[who] is None else f"  peak {peaks[who] / 1e6:7.1f} MB"
        rate = workload.work / medians[who]
        print(
            f"  {who:8s} {medians[who]:8.4f} s  {ratios[who]:6.2f} x{peak}  {rate:.3g} pixel·mode·slice/s", flush=True
        )
    return {
        "name": name,
        "to_reach": workload.to_reach,
        "seconds": times,
        "median_seconds": medians,
        "ratio_to_bare": ratios,
        "pixel_mode_slices_per_second": {who: workload.work / s for who, s in medians.items()},
        "peak_bytes": peaks,
        "counted_bytes_per_pixel_mode_slice": counted_bytes(workload),
        "busy_share_of_others": busy,
        "quiet": all(b is not None and b <= QUIET for b in busy),
    }


def reconstructed(name: str, changes: tuple[str, ...], options: argparse.Namespace) -> dict:
    """Print and return how soon a particle is near its final resolution."""
    found = particle.time_to_resolution(name, EPOCHS, options.output, options.device, changes)
    curve, reached = found["curve"], found["reached"]
    print(f"epochs: {name}, {statistics.median(e['seconds'] for e in curve):.1f} s an epoch")
    for entry in curve:
        finest = "-" if entry["resolution_A"] is None else f"{entry['resolution_A']:.3f} Å"
        print(
            f"  epoch {entry['epoch']:2d}  {finest}  mean correlation of the shells {entry['mean_correlation']:.4f}"
        )
    for what, when in reached.items():
        print(
            f"  {what.replace('_', ' ')} within {particle.WITHIN:.0%} of its last after {when['epochs']} epochs, "
            f"{when['seconds']:.1f} s",
            flush=True,
        )
    return found


def passes_of(workload: Workload) -> list[dict]:
    """Print and return the time of each pass of the compiled kernel, on one thread."""
    found = parts.measured_parts(workload)
    total = sum(one["seconds_per_position"] for one in found)
    print(f"parts: {workload.name}, {1e6 * total:.0f} us a position on one thread")
    for one in found:
        share, speed = one["seconds_per_position"] / total, one["bytes_per_second"] / 1e9
        print(f"  {one['pass']:22s} {1e6 * one['seconds_per_position']:7.1f} us  {share:4.0%}  {speed:5.0f} GB/s")
    return found


def counted_bytes(workload: Workload) -> float:
    """Return the bytes that the compiled kernel reads and writes, in whatever cache, per pixel·mode·slice.

    Counted from its passes over complex numbers of 8 bytes: a transform is read and written once.
    """
    transform, through, propagator, back = 16, 24, 24, 48
    between = (workload.slices - 1) * 2 * (2 * transform + propagator)
    ends = (transform + 16) + transform + 16 + transform + 12 + (transform + 24)
    return (workload.slices * (through + back) + between + ends) / workload.slices


def machine(options: argparse.Namespace) -> dict:
    """Return processor, threads and versions."""
    cpu = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name()
        if options.device == "cuda"
        else next(iter(models), platform.machine()),
        "threads": options.threads,
        "torch": torch.__version__,
        "repeats": options.repeats,
    }


if __name__ == "__main__":
    main()
