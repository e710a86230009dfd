"""The report of a run: one HTML file that carries its pictures and needs no network."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mmsf.files import whole_or_absent
from mmsf.visualization import html
from mmsf.visualization import sensitivity as plots
from mmsf.visualization.advice import next_step
from mmsf.visualization.table import MODELS, all_metrics, main_metrics, number, numeric

_FIGURES = {
    "curves": (
        "Sensitivity of the heads",
        "How far lanes move when one head alone is disturbed. Dots are Monte-Carlo draws, lines the queried curves, dashed "
        "where they were measured again around the last losses; rings are the heads before tuning, discs after.",
    ),
    "selection": (
        "Selection over the iterations",
        "Above, the distortion that each head's present loss stands for on its curve, and as dots where it was measured by "
        "decoding; below, the heads that the loss focused on.",
    ),
    "losses": ("Losses of the heads", "Distance of the quantized head from the float one while tuning."),
    "layers": (
        "Layers, ranked",
        "How far lanes move when a single layer is quantized and all others stay in float, and the layer's share of the "
        "multiply-accumulates; a stroke is the score at more bits, where it was measured.",
    ),
}
# Profile -> whose kernels run it.
_BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
# What `mmsf.lanes.damage` counts: points, lanes, and what they are.
_DAMAGE = {
    "bend": ("bends", "bent_lanes", "shifted at a lane's end"),
    "spike": ("spikes", "spiked_lanes", "shifted in a lane's middle"),
    "misalignment": (("missing", "extra"), "misaligned_lanes", "missing or too many, at either end or in gaps"),
    "lost lane": (None, "lost_lanes", "a lane of the float model that is gone"),
    "invented lane": (None, "invented_lanes", "a lane that the float model does not see"),
}


def write_report(
    path: str | Path,
    summary: Mapping[str, Any],
    sensitivity: Mapping[str, Any] | None = None,
    overlays: Sequence[tuple[str, str | Path]] = (),
    foreground: Sequence[tuple[str, str | Path]] = (),
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: The HTML file.
        summary: ``summary.json``; a part that is missing leaves out its section.
        sensitivity: ``sensitivity.json``, see `mmsf.visualization.sensitivity`.
        overlays: (title, PNG or JPEG file) of each comparison, the worst frame first; see `write_overlays`.
        foreground: (title, PNG or JPEG file) of each foreground map; see `mmsf.visualization.foreground_figure`.

    Raises:
        UserError: A picture is missing or neither PNG nor JPEG.
    """
    title = f"W{summary.get('weight_bits', '?')}A{summary.get('activation_bits', '?')}, {summary.get('method', 'quantized')}"
    sensitivity = sensitivity or {}
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subtitle(summary))}</p>',
        _next_step(summary, sensitivity),
        _tiles(summary),
        _results(summary),
        _damage(summary),
        _heads(summary, sensitivity),
        *_figures(sensitivity),
        _all_layers(sensitivity),
        _foreground(foreground),
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
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a file may have any name


def _subtitle(summary: Mapping[str, Any]) -> str:
    frames = summary.get("frames") or {}
    parts = [f"preset {summary['preset']}"] if summary.get("preset") else []
    parts += [f"profile {summary['profile']}"] if summary.get("profile") else []
    parts += ["tuned with labels of the calibration frames: a reference only"] if summary.get("calibration_labels") else []
    parts += [f"not deployable: {summary['not_deployable']}"] if summary.get("not_deployable") else []
    parts += [
        f"{number(frames[kind])} {kind} frames" for kind in ("calibration", "labelled", "evaluation") if frames.get(kind)
    ]
    return " · ".join(parts)


def _next_step(summary: Mapping[str, Any], sensitivity: Mapping[str, Any]) -> str:
    advice = next_step(summary, sensitivity)
    return f'<div class="next"><h3>What to do next</h3><p>{escape(advice)}</p></div>' if advice else ""


def _tiles(summary: Mapping[str, Any]) -> str:
    tiles = []
    key = next(iter(main_metrics(summary)), None)
    if key:
        values = {model: summary[model][key] for model in MODELS if key in (summary.get(model) or {})}
        tiles += [(number(value), f"{key}, {model}") for model, value in values.items()]
        whole, kept = values.get("float"), values.get("quantized")
        if _measured(whole, kept) and whole > 0 and kept >= 0:  # -1 and NaN: there was nothing to score
            tiles.append((f"{100 * kept / whole:.1f} %", f"of float {key} kept"))
    agreement = numeric(summary.get("agreement"))
    tiles += [(number(value), f"{name.replace('_', ' ')}, quantized against float") for name, value in agreement.items()]
    if summary.get("seconds"):
        tiles.append((html.duration(sum(summary["seconds"].values())), "in all"))
    cells = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for value, label in tiles)
    return f'<div class="tiles">{cells}</div>' if cells else ""


def _results(summary: Mapping[str, Any]) -> str:
    agreement = _agreement(summary)
    models = [model for model in MODELS if summary.get(model) or agreement.get(model)]
    main = main_metrics(summary)
    # The metrics that tell most come first; the others keep the order in which they were measured.
    keys = main + [key for key in all_metrics(summary) if key not in main]
    rows: list[list[str]] = []
    for key in keys:
        values = [(summary.get(model) or {}).get(key) for model in models]
        change = ""
        if "float" in models and "quantized" in models and _measured(values[0], values[-1]):
            difference = values[-1] - values[0]
            change = ("+" if difference > 0 else "") + number(difference).replace("-", "−")
        rows.append([key, *map(number, values), change])
    rows, others = rows[: len(main)], rows[len(main) :]
    # How the lanes themselves agree with the float model's; the float model has nothing to compare with.
    for key in dict.fromkeys(key for figures in agreement.values() for key in figures):
        values = (number(agreement.get(model, {}).get(key)) for model in models)
        rows.append([f"against float: {key.replace('_', ' ')}", *values, ""])
    if not rows:
        return ""
    note = "<p>Calibrated is the model after its ranges were estimated and before it was tuned.</p>"
    header = ["metric", *models, "quantized − float"]
    table = f'<div class="card">{html.table(*html.without_empty(header, rows), main=main[:1])}</div>'
    return f"<h2>Results</h2>{note}{table}{html.details(f'{len(others)} more metrics', header, others)}"


def _agreement(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Model -> how its lanes agree with the float model's; only models that were compared."""
    agreement = summary.get("agreement") or {}
    known = {"calibrated": numeric(agreement.get("calibrated")), "quantized": numeric(agreement)}
    return {model: figures for model, figures in known.items() if figures}


def _damage(summary: Mapping[str, Any]) -> str:
    agreement = summary.get("agreement") or {}
    counts = {"calibrated": (agreement.get("calibrated") or {}).get("damage"), "quantized": agreement.get("damage")}
    counts = {model: damage for model, damage in counts.items() if damage}
    if not counts:
        return ""
    rows = []
    for kind, (points, lanes, words) in _DAMAGE.items():
        cells = []
        for damage in counts.values():
            names = [points] if isinstance(points, str) else points or ()
            told = [f"{number(sum(damage[name] for name in names))} points"] if names else []
            cells.append(", ".join([*told, f"{number(damage[lanes])} lanes"]))
        rows.append([f"{kind}: {words}", *cells])
    first = next(iter(counts.values()))
    note = (
        f"<p>Against the {number(first['float_lanes'])} lanes and {number(first['float_points'])} points that the float "
        "model finds in the evaluation frames, on rows 20 pixels apart; shifted is more than 15 pixels. The points of lost "
        "and invented lanes count as misaligned.</p>"
    )
    return f'<h2>Damage to lanes</h2>{note}<div class="card">{html.table(["distortion", *counts], rows)}</div>'


def _heads(summary: Mapping[str, Any], sensitivity: Mapping[str, Any]) -> str:
    alone = plots.exact_scores(sensitivity)
    rows = []
    for name, head in (summary.get("heads") or {}).items():
        before, after, share = head.get("loss_before"), head.get("loss_after"), head.get("selected_share")
        ratio = f"× {after / before:.3g}" if _measured(before, after) and before else ""
        rows.append([name, number(before), number(after), ratio, number(head.get("sensitivity")), number(alone.get(name))])
        rows[-1].append(html.bar(share) if _measured(share) else "–")
    others = {f"confidence {name}": score for name, score in (sensitivity.get("confidences") or {}).items()}
    if "all_heads" in sensitivity:
        others["all heads"] = sensitivity["all_heads"]
    rows += [[name, "–", "–", "", "–", number(score), "–"] for name, score in others.items()]
    if not rows:
        return ""
    header = ["head", "loss before", "loss after", "change", "sensitivity", "distortion by it alone", "selected"]
    header, rows = html.without_empty(header, rows)
    markup = [column for column, name in enumerate(header) if name == "selected"]
    note = (
        "<p>Sensitivity is the Lane Distortion Score that a head's present loss stands for on its curve; beside it, the "
        "mean score of a frame with that head alone quantized, measured by decoding.</p>"
    )
    return f'<h2>Heads</h2>{note}<div class="card">{html.table(header, rows, html=markup)}</div>'


def _figures(sensitivity: Mapping[str, Any]) -> Iterable[str]:
    for name, figure in plots.figures(sensitivity).items():
        title, caption = _FIGURES[name]
        yield f"<h2>{title}</h2><figure>{plots.svg(figure, name)}<figcaption>{caption}</figcaption></figure>"


def _all_layers(sensitivity: Mapping[str, Any]) -> str:
    shares = sensitivity.get("layer_shares") or {}
    layers = sensitivity.get("layers") or {}
    bits = list(dict.fromkeys(pair for own in layers.values() for pair in own))
    rows = []
    for name, _, _ in plots.ranked_layers(sensitivity):
        scores = [number(layers[name].get(pair)) for pair in bits]
        rows.append([name, *scores, f"{100 * shares[name]:.2f} %" if name in shares else "–"])
    header = ["layer", *(f"distortion at {pair} bits" for pair in bits), "multiply-accumulates"]
    return html.details(f"All {len(rows)} layers", header, rows)


def _foreground(maps: Sequence[tuple[str, str | Path]]) -> str:
    if not maps:
        return ""
    note = (
        '<h2>Where noise moves lanes</h2><p class="soft">One block of a head\'s places is disturbed at a time, every place '
        "by noise of the size of the head's error after range estimation. What stays dark may err without a lane moving; "
        "thin dashed lines are the float model's lanes.</p>"
    )
    return note + "".join(html.picture(title, path, f"Foreground map of {title}", "") for title, path in maps)


def _frames(overlays: Sequence[tuple[str, str | Path]]) -> str:
    if not overlays:
        return ""
    note = (
        '<h2>Frames, the most distorted first</h2><p class="soft">White below a lane is where the float model saw it. '
        "Marked are ▲ bends, ◆ spikes, ○ points that are missing and × points that are too many.</p>"
    )
    return note + "".join(html.picture(title, path, f"Lanes of the models in {title}", "wide") for title, path in overlays)


def _facts(summary: Mapping[str, Any]) -> str:
    weights, activations = summary.get("weight_bits"), summary.get("activation_bits")
    run = {
        "method": summary.get("method"),
        "bits of weights, activations": f"{weights}, {activations}" if weights is not None else None,
        "kernels": _kernels(summary) if weights is not None else None,
        "mean bits of activation channels": summary.get("mean_channel_bits"),
        "profile": summary.get("profile"),
        "scheme": summary.get("scheme"),
        "layers left float": ", ".join(summary.get("left_float") or []) or None,
        "iterations": summary.get("iterations"),
        "time of an iteration / that of a float forward and backward": summary.get("iteration_cost_ratio"),
        "peak memory, MB": summary.get("peak_memory_mb"),
    }
    run |= {f"{kind} frames": count for kind, count in (summary.get("frames") or {}).items()}
    seconds = {name.replace("_", " "): html.duration(value) for name, value in (summary.get("seconds") or {}).items()}
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
            parts.append(f'<div class="card"><h3>{title}</h3>{html.table([], rows)}</div>')
    plan = [[layer, *map(str, bits)] for layer, bits in (summary.get("bit_plan") or {}).items()]
    layers = html.details(f"Bits of the {len(plan)} layers", ["layer", "weights", "activations"], plan)
    return f'<h2>The run</h2><div class="facts">{"".join(parts)}</div>{layers}' if parts or plan else ""


def _kernels(summary: Mapping[str, Any]) -> str:
    if summary.get("not_deployable"):
        return f"not deployable: {summary['not_deployable']}"
    others = sum(share for bits, share in (summary.get("mac_share") or {}).items() if bits not in ("8/8", "float/float"))
    if (summary.get("weight_bits"), summary.get("activation_bits")) == (8, 8):
        if others:
            return f"simulated in part: {100 * others:.2g} % of the multiply-accumulates have bits that no stock kernel has"
        if backend := _BACKENDS.get(summary.get("profile")):
            return f"8-bit integer, in {backend}"
        again = "model.quantizer.profile=onnxruntime, openvino or tensorrt"
        return f"none: no backend runs this profile; quantize again with {again}"
    return "simulated: no stock convolution has these bits"


def _measured(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)
