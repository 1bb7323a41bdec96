"""`dptt plan`: memory and time of a reconstruction on 1 to N ranks, the best layout, and its job script.

With `--atoms` instead: how precisely a planned series can tell atoms.
"""

import shlex
from pathlib import Path

import gemmi

from dptt.assembly.planned_atoms import planned_atoms
from dptt.assembly.workload import plan_workload
from dptt.config import Config, ConfigError
from dptt.distributed.descriptors import allowed_descriptors, needed_descriptors
from dptt.io.atomic_write import replace_bytes, replace_text, write_beside
from dptt.logs import log
from dptt.planning import container
from dptt.planning.atoms import TiltChoice, atom_table
from dptt.planning.container import container_python
from dptt.planning.gpu import RESERVE, on_gpu
from dptt.planning.job_script import SHARED, SHELL_FILES, Job, job_script
from dptt.planning.layout import rank_counts
from dptt.planning.machine import GIBIBYTE, Machine, read_machine
from dptt.planning.options import PlanChoices
from dptt.planning.recommendation import Forecast, forecasts, recommended, time_limit, worth_showing
from dptt.planning.table import costs, table
from dptt.planning.workload import Workload
from dptt.runtime.folders import prepare_folder
from dptt.solvers.atoms import information_by_tilt, standard_errors

DRAWS, PATTERNS = 400, 24
"""Of simulated noise, in all tilts together: errors are known to 4 %; and patterns in a draw."""
NARROW = 2 / 3
"""Of the tilt range, for the comparison with a narrower one."""


def plan(config: Config, config_file: Path, overrides: list[str], choices: PlanChoices) -> str:
    """Return the plan as text; write it, the job script and the files that the script needs into `run/plan`.

    Raises
    ------
    ConfigError
        The size of the series is unknown, there is no such machine, or names cannot be written into a job script.
    """
    workload = plan_workload(config)
    machine = _machine(choices, workload)
    rates = machine
    if machine.unit == "GPU":
        gpu_bytes = _gpu_bytes(config, choices, machine)
        workload, machine = on_gpu(workload, gpu_bytes), machine.changed(memory=gpu_bytes + machine.baseline)
    groups = config.distribution.tilt_groups
    interval = groups.interval if groups.synchronise == "averages" else 1
    options = forecasts(workload, machine, _counts(choices, machine), choices.approximate, interval)
    chosen = recommended(options, choices.efficiency)
    paragraphs = [
        _workload_lines(config_file, workload),
        f"machine: {machine.name}. {machine.source}",
        table(worth_showing(options, chosen), chosen, machine),
    ]
    if chosen is None:
        paragraphs.append(_nothing_fits(options, machine))
    else:
        paragraphs += [
            costs(chosen, workload, machine),
            _write_job(config, config_file, overrides, choices, machine, chosen),
        ]
    text = "\n\n".join(paragraphs)
    folder = config.run / "plan"
    prepare_folder(folder)
    with write_beside(folder / "machine.json", overwrite=True) as partial:
        rates.save(partial)
    replace_text(folder / "plan.txt", text + "\n")
    return text


def plan_atoms(config: Config, precision: float) -> str:
    """Return how precisely the series of `config.simulation` can tell atoms, as text; write it into `run/plan`.

    `precision` [Å] is what all three coordinates are to have.

    Raises
    ------
    ConfigError
        There is no section `simulation`.
    """
    problem, model = planned_atoms(config)
    assert config.simulation is not None
    blocks = information_by_tilt(problem, model, draws=DRAWS, patterns=PATTERNS)
    thetas = model.euler_angles[:, 1]
    order = thetas.argsort()
    narrow = order[thetas[order].abs() <= NARROW * thetas.abs().max()]
    choices = [
        TiltChoice(
            name,
            thetas[chosen].tolist(),
            standard_errors(blocks[chosen].sum(dim=0) * len(order) / len(chosen)).median(dim=0).values[:3].tolist(),
        )
        for name, chosen in (("as planned", order), ("every second tilt", order[::2]), ("narrower", narrow))
        if len(chosen)
    ]
    text = atom_table(
        standard_errors(blocks.sum(dim=0)).tolist(),
        [gemmi.Element(number).name for number in model.atoms.atomic_numbers.tolist()],
        choices,
        fluence=config.simulation.fluence,
        precision=precision,
    )
    folder = config.run / "plan"
    prepare_folder(folder)
    replace_text(folder / "atoms.txt", text + "\n")
    return text


def _machine(choices: PlanChoices, workload: Workload) -> Machine:
    if choices.machine is None:
        from dptt.runtime.machine_rates import measure_machine

        log.info("measuring this machine for a few seconds; use --machine NAME or FILE to skip this")
        machine = measure_machine(workload)
    else:
        try:
            machine = read_machine(choices.machine)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    memory = choices.memory_per_rank
    return machine.changed(
        memory=None if memory is None else round(memory * GIBIBYTE),
        ranks_per_node=choices.ranks_per_node,
        full_speed=choices.ranks_per_node,
    )


def _gpu_bytes(config: Config, choices: PlanChoices, machine: Machine) -> int:
    """Return the memory that a run can use on a GPU without other programs."""
    free = machine.memory - machine.baseline
    if config.distribution.memory is not None:
        return min(free, round(config.distribution.memory * 2**20))
    return free if choices.memory_per_rank is not None else round((1 - RESERVE) * free)


def _counts(choices: PlanChoices, machine: Machine) -> list[int]:
    if len(choices.ranks) > 1:
        return sorted(set(choices.ranks))
    return rank_counts(choices.ranks[0] if choices.ranks else 64 if machine.unit == "GPU" else 16)


def _workload_lines(config_file: Path, workload: Workload) -> str:
    depth, height, width = workload.volume_shape
    volume = workload.voxels * workload.voxel_bytes / GIBIBYTE
    patterns = workload.tilts * workload.patterns * workload.pattern_bytes / GIBIBYTE
    return (
        f"{config_file}: {workload.tilts} tilts of {workload.patterns} patterns, {workload.window_shape[0]} x "
        f"{workload.window_shape[1]} pixels, {workload.modes} mode(s), {workload.num_slices} slice(s)\n"
        f"volume {depth} x {height} x {width} ({volume:.3g} GiB), patterns {patterns:.3g} GiB, "
        f"{workload.epochs} epochs of {workload.updates} updates"
    )


def _nothing_fits(options: list[Forecast], machine: Machine) -> str:
    smallest = min(options, key=lambda forecast: forecast.memory.total)
    return (
        f"warning: nothing fits into {machine.memory / GIBIBYTE:.3g} GiB per rank. The smallest option needs "
        f"{smallest.memory.total / GIBIBYTE:.3g} GiB, with {smallest.layout}. Use more --ranks, give them more "
        "memory (--memory-per-rank, distribution.memory), lower reconstruction.data_memory, or use a smaller volume."
    )


def _write_job(
    config: Config, config_file: Path, overrides: list[str], choices: PlanChoices, machine: Machine, chosen: Forecast
) -> str:
    """Write the job script of the recommended layout, and return how to submit it.

    Raises
    ------
    ConfigError
        Names cannot be written into a job script.
    """
    folder = config.run / "plan"
    limit = time_limit(chosen, 3600 * choices.longest_job)
    command = ["reconstruct", str(config_file.resolve())]
    command += [*overrides, *chosen.layout.overrides()]
    job = Job(command, name=f"dptt-{config.run.name}", folder=str(folder.resolve()), chdir=str(Path.cwd()))
    files = {}
    try:
        files["reconstruct.sbatch"] = job_script(chosen, job, limit=limit, machine=machine, site=choices.site)
        if image := choices.site.container:
            files[container.NAME] = container_python(
                image, _folders(config, config_file, job), gpu=machine.unit == "GPU"
            )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    prepare_folder(folder)
    for name in SHARED:
        replace_bytes(folder / name, (SHELL_FILES / name).read_bytes())
    for name, text in files.items():
        replace_bytes(folder / name, text.encode(errors="surrogateescape"))
        (folder / name).chmod(0o755)
    advice = f"submit it:  sbatch {shlex.quote(str(folder / 'reconstruct.sbatch'))}"
    if limit.jobs > 1:
        hours = limit.minutes / 60
        advice += f"\nIt will run about {limit.jobs} times for {hours:.3g} h each, and requeue itself in between."
    if not limit.enough:
        advice += (
            f"\nwarning: one epoch of {chosen.duration.total / 3600:.2g} h, its checkpoint and a margin do not fit "
            f"into jobs of {choices.longest_job:g} h, so no epoch would ever complete. Use more ranks, or a longer "
            "--longest-job."
        )
    needed, allowed = needed_descriptors(chosen.layout.ranks), allowed_descriptors()
    if needed > allowed:
        advice += (
            f"\nwarning: rank 0 of {chosen.layout.ranks} needs about {needed} open files and connections; this "
            f"host allows {allowed}. Check `ulimit -Hn` on the nodes of the job, or use fewer ranks."
        )
    return advice


def _folders(config: Config, config_file: Path, job: Job) -> list[str]:
    """Return the folders that the command reads and writes."""
    used = (config.run, config.series.parent, config_file.parent)
    return [job.chdir, job.folder, *(str(folder.resolve()) for folder in used)]
