"""A forecast as a person likes to read it."""

from collections.abc import Callable

from dptt.planning.machine import GIBIBYTE, Machine
from dptt.planning.recommendation import Forecast
from dptt.planning.workload import Workload

Column = tuple[str, Callable[[Forecast], str]]


def table(found: list[Forecast], chosen: Forecast | None, machine: Machine) -> str:
    """Return one line a layout; an arrow marks the chosen one, an exclamation mark what does not fit."""
    columns: list[Column] = [
        ("", lambda one: "->" if chosen and one.layout == chosen.layout else ""),
        ("ranks", lambda one: str(one.layout.ranks)),
        ("layout", lambda one: str(one.layout) + ("" if one.layout.exact else " (approximate)")),
        ("GiB a rank", lambda one: f"{one.memory.total / GIBIBYTE:.2f}{' ' if one.fits else '!'}"),
        ("epoch", lambda one: clock(one.duration.total)),
        ("whole run", lambda one: clock(one.total)),
        (f"{machine.unit}-hours", lambda one: f"{one.rank_hours:.3g}"),
        ("MB an update", lambda one: f"{one.sent / 1e6:.2f}"),
        ("efficiency", lambda one: f"{100 * one.efficiency:.0f} %"),
    ]
    rows = [[title for title, _ in columns]] + [[text(one) for _, text in columns] for one in found]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    texts = [title in ("", "layout") for title, _ in columns]
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ).rstrip()
        for row in rows
    ]
    if not all(one.fits for one in found):
        lines.append(f"! does not fit into the {machine.memory / GIBIBYTE:.3g} GiB that a rank may use")
    return "\n".join(lines)


def costs(one: Forecast, workload: Workload, machine: Machine) -> str:
    """Return where time and memory of a layout go."""
    seconds, memory = one.duration, one.memory
    on_gpu = workload.gpu_bytes is not None
    patterns = "patterns" + (", which stay there" if one.resident else ", sent anew every epoch") * on_gpu
    shares = {
        "patterns": seconds.patterns,
        "volume": seconds.volume,
        "communication": seconds.communicate,
        "reading": seconds.read,
        "rest": seconds.overhead,
    }
    parts = {
        "volume and momentum": memory.volume,
        memory.moment: memory.working,
        patterns: memory.patterns,
        "probes and positions": memory.probes,
        "Python and libraries": memory.baseline,
    }
    time = ", ".join(f"{name} {100 * part / seconds.total:.0f} %" for name, part in shares.items() if part > 0)
    space = ", ".join(f"{name} {part / GIBIBYTE:.2f}" for name, part in parts.items() if part > 0)
    plural = "s" if one.layout.ranks > 1 else ""
    return (
        f"recommended: {one.layout.ranks} rank{plural}{'' if one.layout.ranks == 1 else f' as {one.layout}'}, "
        f"{clock(one.total)} in all, {one.rank_hours:.3g} {machine.unit}-hours\n"
        f"  an epoch's {clock(seconds.total)}: {time}\n"
        f"  a rank's {memory.total / GIBIBYTE:.2f} GiB: {space}"
    )


def clock(seconds: float) -> str:
    """Return a time with three digits and the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
