"""Results as text: bandwidth and the share of the limit, speed-ups, models, and what is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
"""What was measured of a case; see `Results`."""

SMALL_SHARE = 0.5
"""Of a call's time that is the host's, from which on the device waits for it."""


def render(all_rows: Sequence[Row], *, interrupted: bool) -> str:
    """Return all tables of a run."""
    rows = [row for row in all_rows if "ours" in row["measured"]]
    parts = [
        _bandwidths([row for row in rows if row["kind"] == "many"]),
        _speed_ups(rows),
        _calls([row for row in rows if row["kind"] == "one"]),
        _models([row for row in rows if row["kind"] in ("hook", "scan")]),
        _missing(all_rows),
        _throttled(rows),
    ]
    if interrupted:
        parts.append("Interrupted: these are the rows measured until then.")
    return "\n\n".join(part for part in parts if part) or "Nothing was measured."


def describe_run(machine: Mapping[str, Any]) -> str:
    """Return machine, version and date in a line."""
    cards = [card["name"] for card in machine.get("devices", {}).values() if card.get("name")]
    version = (machine.get("versions") or {}).get("gradcorr-fast") or "unknown"
    commit = f" ({machine['commit']})" if machine.get("commit") else ""
    parts = [
        machine["processor"],
        f"{machine.get('threads')} threads",
        *(f"{n} x {c}" for c, n in Counter(cards).items()),
    ]
    return ", ".join([*parts, f"version {version}{commit}", str(machine.get("date"))])


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in columns, the first ones to the left and numbers to the right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    is_number = [all(row[k][:1] in "0123456789-" for row in rows) for k in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )


def describe_names(row: Row) -> list[str]:
    """Return library, device, operation, layout, dtype and sizes."""
    operation = row["operation"] + (f", {row['x']}" if row.get("x") and row["operation"] != "standard work" else "")
    operation += f", {row['network']}" if row.get("network") else ""
    names = [row["library"], row["device"], operation, row.get("layout") or "", row.get("dtype") or ""]
    return [*names, f"{row.get('n_sequences', 0):,}", f"{row.get('length', 0):,}"]


NAMES = ["library", "device", "operation", "layout", "dtype", "sequences", "bp"]


def gigabytes(row: Row, name: str) -> float:
    """Return the bandwidth of a way of doing it, GB/s."""
    return float(row["bytes"] / row["measured"][name]["seconds"] / 1e9)


def _bandwidths(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        reused = f"{gigabytes(row, 'ours, out='):.1f}" if "ours, out=" in row["measured"] else "-"
        share = f"{row['share'][0]:.2f} ({row['share'][1]:.2f} to {row['share'][2]:.2f})"
        line = [f"{gigabytes(row, 'ours'):.1f}", reused, f"{gigabytes(row, 'copy'):.1f}", share]
        lines.append([*describe_names(row), *line])
    columns = [*NAMES, "GB/s", "with out=", "copy", "share of the copy (95 %)"]
    return lay_out(columns, lines) if lines else ""


def _speed_ups(rows: Sequence[Row]) -> str:
    lines = [
        [*describe_names(row), name, f"{ratio[0]:.1f} ({ratio[1]:.1f} to {ratio[2]:.1f})"]
        for row in rows
        if row["kind"] == "many"
        for name, ratio in row["ratios"].items()
        if name != "copy"
    ]
    return lay_out([*NAMES, "against", "times as fast (95 %)"], lines) if lines else ""


def _series(rows: Sequence[Row], row: Row) -> list[Row]:
    """Return the rows that differ from one in their length alone."""
    names = ("kind", "library", "device", "operation", "layout", "dtype")
    return [other for other in rows if all(other.get(name) == row.get(name) for name in names)]


def fixed_seconds(rows: Sequence[Row], row: Row) -> float:
    """Return what a call costs before it has positions to work on: what the host does for the shortest sequence."""
    shortest = min(_series(rows, row), key=lambda other: int(other["length"]))
    seconds = shortest["measured"]["ours"]["seconds"]
    return float(min(shortest.get("host_seconds", seconds), seconds))


def takeover_length(rows: Sequence[Row], row: Row) -> int | None:
    """Return the longest length at which half of a call's time or more is the host's; None where there is none."""
    fixed = fixed_seconds(rows, row)
    lengths = [
        int(other["length"])
        for other in _series(rows, row)
        if fixed >= SMALL_SHARE * other["measured"]["ours"]["seconds"]
    ]
    return max(lengths, default=None)


def _calls(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        reused = row["measured"].get("ours, out=")
        line = [
            f"{row['measured']['ours']['seconds'] * 1e6:,.1f}",
            "-" if reused is None else f"{reused['seconds'] * 1e6:,.1f}",
        ]
        lines.append([*describe_names(row), *line, f"{fixed_seconds(rows, row) * 1e6:,.1f}"])
    return lay_out([*NAMES, "us", "with out=", "of which the host's call"], lines) if lines else ""


def _models(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        rate = row["n_sequences"] / row["measured"]["ours"]["seconds"]
        unit = "variants" if row["kind"] == "scan" else "sequences"
        share = next((f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})" for ratio in row["ratios"].values()), "-")
        names = describe_names(row)
        lines.append([names[1], names[2], *names[5:], f"{rate:,.0f} {unit}", share])
    columns = ["device", "what", "sequences", "bp", "a second", "share of the bare model's speed (95 %)"]
    return lay_out(columns, lines) if lines else ""


def _missing(rows: Sequence[Row]) -> str:
    """Say what could not be measured, once for each reason."""
    reasons: dict[tuple[str, str, str], int] = {}
    for row in rows:
        for name, reason in row.get("left_out", {}).items():
            what = f"{row['library']} {row['device']}".strip() + ("" if name == "ours" else f", {name}")
            key = what, row["operation"], reason
            reasons[key] = reasons.get(key, 0) + 1
    lines = [
        f"  {what} {operation}: {reason}" + (f" ({n} rows)" if n > 1 else "")
        for (what, operation, reason), n in reasons.items()
    ]
    return "\n".join(["Not measured:", *lines]) if lines else ""


def _throttled(rows: Sequence[Row]) -> str:
    lines = []
    for device in dict.fromkeys(row["device"] for row in rows if row.get("card")):
        states = [row["card"] for row in rows if row["device"] == device and row.get("card")]
        held = [state for state in states if state.get("throttled")]
        hottest = max(
            (state["temperature_c"] for state in states if state.get("temperature_c") is not None), default=None
        )
        heat = "" if hottest is None else f", at most {hottest} degrees Celsius"
        if held:
            why = ", ".join(sorted({reason for state in held for reason in state["throttled"]}))
            lines.append(
                f"{device} was throttled in {len(held)} of {len(states)} rows ({why}{heat}): the card can be faster."
            )
        else:
            lines.append(f"{device} was not throttled{heat}.")
    return "\n".join(lines)
