"""The figures of `assay bench` as they stand in a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.bench.checks import Check
from assay.bench.document import pipe_table
from assay.bench.peers import PeerSettings
from assay.bench.timings import Bench, Spread, Timing, gains

__all__ = ["bench_markdown", "bench_marks", "middle_and_range", "passes_of", "peer_columns"]

_PEERS: dict[str, tuple[PeerSettings, str]] = {
    "peer's defaults, float32": ("default", "float32"),
    "peer's best, float32": ("best", "float32"),
    "peer's best, bfloat16": ("best", "bfloat16"),
}


def bench_marks(networks: Sequence[str]) -> tuple[str, str]:
    """The marks of a page between which the figures of these networks stand."""
    told = ", ".join(sorted(networks))
    return f"<!-- figures of {told}: written by assay bench --page -->", f"<!-- end of the figures of {told} -->"


def peer_columns(found: Bench) -> dict[str, tuple[PeerSettings, str]]:
    """Headings of the peers that ran, with their settings and precision."""
    ran = {(gain.settings, gain.precision) for row in found.rows for gain in row.gains}
    return {heading: key for heading, key in _PEERS.items() if key in ran}


def middle_and_range(values: Spread) -> str:
    """The median, with the lowest and the highest."""
    return f"{values.median:.2f} ({values.low:.2f} to {values.high:.2f})"


def passes_of(row: Timing) -> str:
    """Passes forward, and those that went back too."""
    return f"{row.forward}, {row.backward} back" if row.backward else str(row.forward)


def bench_markdown(found: Sequence[Bench], judged: Sequence[Check], command: str, machine: Mapping[str, str]) -> str:
    """Tables of times, gains and checks.

    Args:
        found: Of each network.
        judged: Checks of accuracy and memory.
        command: What was run.
        machine: On what.
    """
    told = f"{machine['cores']} cores of {machine['processor']}, threads: {machine['threads']}, {machine['memory']}"
    parts = [f"Made by `{command}` on {told}. Ratios are of processor time, the median of the repeats with the lowest and the highest."]
    for one in found:
        parts += [f"### {one.network}, {one.count} images of {one.pixels[0]} x {one.pixels[1]}", _rows(one), *_told(one)]
        parts += ["\n".join(f"- Left out: {name}: {why}" for name, why in one.left_out.items())] if one.left_out else []
    if judged:
        rows = [
            (
                check.name,
                f"{check.value:.4g}",
                f"at {'least' if check.at_least else 'most'} {check.bound:.4g}",
                "yes" if check.met else "no",
            )
            for check in judged
        ]
        parts += ["### Checks on the shipped Hard Digits network", pipe_table(("check", "measured", "bound", "met"), rows)]
    return "\n\n".join(parts)


def _rows(found: Bench) -> str:
    columns = peer_columns(found)
    rows = []
    for row in found.rows:
        ran = {(gain.settings, gain.precision): gain for gain in row.gains}
        theirs = [middle_and_range(ran[key].faster.cpu) if key in ran else "" for key in columns.values()]
        library = next(iter(row.gains)).library if row.gains else ""
        limits = (middle_and_range(row.to_limit.cpu), middle_and_range(row.to_limit.wall)) if row.to_limit else ("no passes", "")
        rows.append((f"`{row.name}`", row.precision, passes_of(row), *limits, library, *theirs))
    return pipe_table(("what", "precision", "passes", "x limit", "x limit by the clock", "peer", *columns), rows)


def _told(found: Bench) -> list[str]:
    """The geometric means, and the limits at their highest."""
    lines = []
    for ours in ("float32", "bfloat16"):
        limits = [(row.to_limit.cpu.median, row.name) for row in found.rows if row.to_limit and row.precision == ours]
        if limits:
            lines.append(f"- Ours in {ours} over the bare passes: at most {max(limits)[0]:.2f} (`{max(limits)[1]}`).")
        for heading, (settings, theirs) in peer_columns(found).items():
            gain = gains(found.rows, ours, settings, theirs)
            if gain is not None:
                mean, name, least = gain
                lines.append(
                    f"- Ours in {ours} against the {heading}: {mean:.2f} times as fast in geometric mean, at least {least:.2f} (`{name}`)."
                )
    return ["\n".join(lines)] if lines else []
