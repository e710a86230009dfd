# The paper's Table 2, the ablation: GANet Small on CULane at W4A4. Needs data/culane and checkpoints/ganet-small.pth.
_base_ = ["../_base_/benchmark/culane.py", "../_base_/benchmark/ablation.py"]

title = "Table 2: ablation, GANet Small on CULane"
table = 2
detectors = [_base_.culane["ganet-small"]]
methods = [
    dict(name="full", title="Selective Focus", preset="paper", paper="Ours"),
    dict(name="no-focus", title="w/o Focus", preset="paper", paper="w/o Focus", options=_base_.no_focus),
    dict(name="no-selection", title="w/o Selection", preset="paper", paper="w/o Selection", options=_base_.no_selection),
    dict(
        name="neither",
        title="w/o Focus+Selection",
        preset="paper",
        paper="w/o Focus+Selection",
        options={**_base_.no_focus, **_base_.no_selection},
    ),
]
bits = ["w4a4"]
