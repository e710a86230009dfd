"""The report of a run: one HTML file that carries its pictures and needs no network."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.visualization import sensitivity as plots
from mmsf.visualization.table import MODELS, all_metrics, main_metrics, number, numeric

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_FIGURES = {
    "curves": (
        "Sensitivity of the heads",
        "How far lanes move when one head alone is disturbed. Dots are Monte-Carlo draws, lines the queried curves, "
        "rings the heads before tuning, discs after.",
    ),
    "selection": (
        "Selection over the iterations",
        "Above, the distortion that each head's present loss stands for on its curve, and as dots where it was measured by "
        "decoding; below, the heads that the loss focused on.",
    ),
    "losses": ("Losses of the heads", "Distance of the quantized head from the float one while tuning."),
}


def write_report(
    path: str | Path,
    summary: Mapping[str, Any],
    sensitivity: Mapping[str, Any] | None = None,
    overlays: Sequence[tuple[str, str | Path]] = (),
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: The HTML file.
        summary: ``summary.json``; a part that is missing leaves out its section.
        sensitivity: ``sensitivity.json``, see `mmsf.visualization.sensitivity`.
        overlays: (title, PNG or JPEG file) of each comparison, the worst frame first; see `write_overlays`.

    Raises:
        UserError: A picture is missing or neither PNG nor JPEG.
    """
    title = f"W{summary.get('weight_bits', '?')}A{summary.get('activation_bits', '?')}, {summary.get('method', 'quantized')}"
    sensitivity = sensitivity or {}
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subtitle(summary))}</p>',
        _tiles(summary),
        _results(summary),
        _heads(summary, sensitivity),
        *_figures(sensitivity),
        _frames(overlays),
        _facts(summary),
    ]
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )
    with whole_or_absent(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _subtitle(summary: Mapping[str, Any]) -> str:
    frames = summary.get("frames") or {}
    parts = [f"preset {summary['preset']}"] if summary.get("preset") else []
    parts += [f"profile {summary['profile']}"] if summary.get("profile") else []
    parts += [f"{number(frames[kind])} {kind} frames" for kind in ("calibration", "evaluation") if frames.get(kind)]
    return " · ".join(parts)


def _tiles(summary: Mapping[str, Any]) -> str:
    tiles = []
    key = next(iter(main_metrics(summary)), None)
    if key:
        values = {model: summary[model][key] for model in MODELS if key in (summary.get(model) or {})}
        tiles += [(number(value), f"{key}, {model}") for model, value in values.items()]
        if values.get("float") and "quantized" in values:
            tiles.append((f"{100 * values['quantized'] / values['float']:.1f} %", f"of float {key} kept"))
    agreement = numeric(summary.get("agreement"))
    tiles += [(number(value), f"{name.replace('_', ' ')}, quantized against float") for name, value in agreement.items()]
    if summary.get("seconds"):
        tiles.append((_duration(sum(summary["seconds"].values())), "in all"))
    cells = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for value, label in tiles)
    return f'<div class="tiles">{cells}</div>' if cells else ""


def _results(summary: Mapping[str, Any]) -> str:
    models = [model for model in MODELS if summary.get(model) or (model == "quantized" and summary.get("agreement"))]
    main = main_metrics(summary)
    # The metrics that tell most come first; the others keep the order in which they were measured.
    keys = main + [key for key in all_metrics(summary) if key not in main]
    rows = []
    for key in keys:
        values = [(summary.get(model) or {}).get(key) for model in models]
        change = ""
        if "float" in models and "quantized" in models and _measured(values[0], values[-1]):
            difference = values[-1] - values[0]
            change = ("+" if difference > 0 else "") + number(difference).replace("-", "−")
        rows.append([key, *map(number, values), change])
    # How the lanes themselves agree with the float model's; the float model has nothing to compare with.
    agreement = summary.get("agreement") or {}
    for key, value in numeric(agreement).items():
        known = {"quantized": value, "calibrated": (agreement.get("calibrated") or {}).get(key)}
        rows.append([f"against float: {key.replace('_', ' ')}", *(number(known.get(model)) for model in models), ""])
    if not rows:
        return ""
    note = "<p>Calibrated is the model after its ranges were estimated and before it was tuned.</p>"
    header = ["metric", *models, "quantized − float"]
    return f'<h2>Results</h2>{note}<div class="card">{_table(header, rows, main=main[:1])}</div>'


def _heads(summary: Mapping[str, Any], sensitivity: Mapping[str, Any]) -> str:
    alone = plots.exact_scores(sensitivity)
    rows = []
    for name, head in (summary.get("heads") or {}).items():
        before, after, share = head.get("loss_before"), head.get("loss_after"), head.get("selected_share")
        ratio = f"× {after / before:.3g}" if _measured(before, after) and before else ""
        rows.append([name, number(before), number(after), ratio, number(head.get("sensitivity")), number(alone.get(name))])
        rows[-1].append(_bar(share) if _measured(share) else "–")
    if not rows:
        return ""
    header = ["head", "loss before", "loss after", "change", "sensitivity", "distortion by it alone", "selected"]
    return f'<h2>Heads</h2><div class="card">{_table(header, rows, html=(6,))}</div>'


def _figures(sensitivity: Mapping[str, Any]) -> Iterable[str]:
    for name, figure in plots.figures(sensitivity).items():
        title, caption = _FIGURES[name]
        yield f"<h2>{title}</h2><figure>{plots.svg(figure, name)}<figcaption>{caption}</figcaption></figure>"


def _frames(overlays: Sequence[tuple[str, str | Path]]) -> str:
    if not overlays:
        return ""
    parts = [
        '<h2>Frames, the most distorted first</h2><p class="soft">White below a lane is where the float model saw it.</p>'
    ]
    for title, path in overlays:
        alt = escape(f"Lanes of the models in {title}")
        image = f'<img src="{_data_uri(Path(path))}" alt="{alt}" loading="lazy">'
        parts.append(f'<figure class="wide">{image}<figcaption>{escape(title)}</figcaption></figure>')
    return "".join(parts)


def _facts(summary: Mapping[str, Any]) -> str:
    weights, activations = summary.get("weight_bits"), summary.get("activation_bits")
    run = {
        "method": summary.get("method"),
        "bits of weights, activations": f"{weights}, {activations}" if weights is not None else None,
        "kernels": _kernels(weights, activations) if weights is not None else None,
        "profile": summary.get("profile"),
        "scheme": summary.get("scheme"),
        "layers left float": ", ".join(summary.get("left_float") or []) or None,
        "iterations": summary.get("iterations"),
        "time of an iteration, relative to plain tuning": summary.get("iteration_cost_ratio"),
        "peak memory, MB": summary.get("peak_memory_mb"),
    }
    run |= {f"{kind} frames": count for kind, count in (summary.get("frames") or {}).items()}
    seconds = {name.replace("_", " "): _duration(value) for name, value in (summary.get("seconds") or {}).items()}
    shares = {f"{bits} bit": f"{100 * share:.1f} %" for bits, share in (summary.get("mac_share") or {}).items()}
    cards = [
        ("Run", run),
        ("Time", seconds),
        ("Multiply-accumulates by weight/activation bits", shares),
        ("Versions", summary.get("versions") or {}),
    ]
    parts = []
    for title, facts in cards:
        rows = [[name, number(value)] for name, value in facts.items() if value is not None]
        if rows:
            parts.append(f'<div class="card"><h3>{title}</h3>{_table([], rows)}</div>')
    plan = [[layer, *map(str, bits)] for layer, bits in (summary.get("bit_plan") or {}).items()]
    table = f'<div class="card">{_table(["layer", "weights", "activations"], plan)}</div>'
    layers = f"<details><summary>Bits of the {len(plan)} layers</summary>{table}</details>" if plan else ""
    return f'<h2>The run</h2><div class="facts">{"".join(parts)}</div>{layers}' if parts or plan else ""


def _kernels(weights: Any, activations: Any) -> str:
    if (weights, activations) == (8, 8):
        return "8-bit integer, in ONNX Runtime, OpenVINO, TensorRT"
    return "simulated: no stock convolution has these bits"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], main: Sequence[str] = (), html: Sequence[int] = ()) -> str:
    """Build a table; the first cell of a row is its heading, and cells of the columns ``html`` are markup already."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = []
    for first, *rest in rows:
        cells = [cell if column in html else escape(cell) for column, cell in enumerate(rest, 1)]
        mark = ' class="main"' if first in main else ""
        body.append(f'<tr{mark}><th scope="row">{escape(first)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{''.join(body)}</tbody></table>"


def _bar(share: float) -> str:
    percent = 100 * min(max(share, 0), 1)
    return f'{percent:.0f} %<span class="bar"><i style="width:{percent:.1f}%"></i></span>'


def _data_uri(path: Path) -> str:
    kind = _TYPES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise UserError(f"cannot put {path} into the report: it must be a PNG or JPEG file that exists")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _measured(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)
