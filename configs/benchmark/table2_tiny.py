# The paper's Table 2, the ablation, with the small GANet on synthetic roads.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/ablation.py"]

title = "Ablation, small GANet on synthetic roads"
note = _base_.tiny_note
table = 2
detectors = [_base_.tiny.ganet]
methods = [
    dict(name="full", title="Selective Focus", paper="Ours", preset="selective-focus"),
    dict(name="no-focus", title="w/o Focus", paper="w/o Focus", preset="selective-focus", options=_base_.no_focus),
    dict(
        name="no-selection",
        title="w/o Selection",
        paper="w/o Selection",
        preset="selective-focus",
        options=_base_.no_selection,
    ),
    dict(
        name="neither",
        title="w/o Focus+Selection",
        paper="w/o Focus+Selection",
        preset="selective-focus",
        options={**_base_.no_focus, **_base_.no_selection},
    ),
]
bits = ["w4a4"]
seeds = [0, 1, 2]
