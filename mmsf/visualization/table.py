"""The results of a run as a small table of text: what it cost to quantize, and what tuning won back."""

from collections.abc import Mapping, Sequence
from typing import Any

MODELS = ("float", "calibrated", "quantized")
_MAIN = ("f1", "accuracy", "precision", "recall", "fp", "fn")


def main_metrics(summary: Mapping[str, Any], limit: int = 6) -> list[str]:
    """Choose the metrics that tell most.

    Args:
        summary: ``summary.json``; ``float``, ``calibrated`` and ``quantized`` map metrics to values.
        limit: How many at most.

    Returns:
        Keys such as ``"TuSimple/F1"``: F1 first, then accuracy, precision, recall, FP and FN; where none of these is
        measured, the first ones there are.
    """
    keys = all_metrics(summary)
    names = {key: key.rsplit("/", 1)[-1].lower() for key in keys}
    # What is over all frames comes before what is of a category, such as "CULane/night/F1".
    main = sorted((key for key in keys if names[key] in _MAIN), key=lambda key: (key.count("/"), _MAIN.index(names[key])))
    return (main or keys)[:limit]


def all_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Every metric of any of the three models, in the order in which they were measured."""
    return list(dict.fromkeys(key for model in MODELS for key in summary.get(model) or {}))


def number(value: Any) -> str:
    """Write a figure for people: counts with separators, measures with four places, what is missing as a dash."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 10 else f"{value:.4g}"
    return str(value)


def numeric(measures: Mapping[str, Any] | None) -> dict[str, float]:
    """The entries that are figures, without those that hold further entries."""
    return {key: value for key, value in (measures or {}).items() if isinstance(value, int | float)}


def results_table(summary: Mapping[str, Any]) -> str:
    """Lay out the main metrics of the float, the calibrated and the quantized model for a console.

    Args:
        summary: ``summary.json``.

    Returns:
        Aligned lines without a newline at the end; last lines tell the agreement of quantized and float lanes,
        and what cannot be deployed.
    """
    rows = _rows(summary)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines + _agreement(summary) + _warnings(summary))


def _rows(summary: Mapping[str, Any]) -> list[Sequence[str]]:
    keys = main_metrics(summary)
    bits = f"W{summary.get('weight_bits', '?')}A{summary.get('activation_bits', '?')}"
    rows: list[Sequence[str]] = [[bits, *keys]]
    for model in MODELS:
        if summary.get(model):
            rows.append([model, *(number(summary[model].get(key)) for key in keys)])
    return rows


def _agreement(summary: Mapping[str, Any]) -> list[str]:
    parts = [f"{key.replace('_', ' ')} {number(value)}" for key, value in numeric(summary.get("agreement")).items()]
    return [f"quantized against float lanes: {', '.join(parts)}"] if parts else []


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    return [f"not deployable: {summary['not_deployable']}"] if summary.get("not_deployable") else []
