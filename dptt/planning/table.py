"""Forecasts as text for the terminal."""

from collections.abc import Callable

from dptt.planning.machine import GIBIBYTE, Machine
from dptt.planning.recommendation import Forecast
from dptt.planning.workload import Workload

Column = tuple[str, Callable[[Forecast], str]]


def table(forecasts: list[Forecast], chosen: Forecast | None, machine: Machine) -> str:
    """Return a line per layout; an arrow marks the chosen one, an exclamation mark those that do not fit."""
    columns: list[Column] = [
        ("", lambda forecast: "->" if chosen and forecast.layout == chosen.layout else ""),
        ("ranks", lambda forecast: str(forecast.layout.ranks)),
        ("layout", lambda forecast: str(forecast.layout) + ("" if forecast.layout.exact else " (approximate)")),
        ("GiB/rank", lambda forecast: f"{forecast.memory.total / GIBIBYTE:.2f}{' ' if forecast.fits else '!'}"),
        ("epoch", lambda forecast: clock(forecast.duration.total)),
        ("whole run", lambda forecast: clock(forecast.total)),
        (f"{machine.unit}-hours", lambda forecast: f"{forecast.rank_hours:.3g}"),
        ("MB/update", lambda forecast: f"{forecast.sent / 1e6:.2f}"),
        ("efficiency", lambda forecast: f"{100 * forecast.efficiency:.0f} %"),
    ]
    rows = [[title for title, _ in columns]] + [[text(forecast) for _, text in columns] for forecast in forecasts]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    texts = [title in ("", "layout") for title, _ in columns]
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ).rstrip()
        for row in rows
    ]
    if not all(forecast.fits for forecast in forecasts):
        lines.append(f"! does not fit into the {machine.memory / GIBIBYTE:.3g} GiB that a rank may use")
    return "\n".join(lines)


def costs(forecast: Forecast, workload: Workload, machine: Machine) -> str:
    """Return what a layout spends time and memory on."""
    seconds, memory = forecast.duration, forecast.memory
    on_gpu = workload.gpu_bytes is not None
    patterns = "patterns" + (" kept on the GPU" if forecast.resident else " sent again in every epoch") * on_gpu
    shares = {
        "patterns": seconds.patterns,
        "volume": seconds.volume,
        "communication": seconds.communicate,
        "reading": seconds.read,
        "other": seconds.overhead,
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
    ranks = forecast.layout.ranks
    layout = "1 rank" if ranks == 1 else f"{ranks} ranks as {forecast.layout}"
    return (
        f"recommended: {layout}, "
        f"{clock(forecast.total)} in total, {forecast.rank_hours:.3g} {machine.unit}-hours\n"
        f"  time per epoch, {clock(seconds.total)}: {time}\n"
        f"  checkpoint, {clock(forecast.checkpoint)}\n"
        f"  memory per rank, {memory.total / GIBIBYTE:.2f} GiB: {space}"
    )


def clock(seconds: float) -> str:
    """Return a time with three digits, in hours, minutes or seconds."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
