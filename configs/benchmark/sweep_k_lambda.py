# How many heads are selected (k) and how much the confidence counts (lambda of Eq. 6): the small LSTR, with three semantic
# heads.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Selected heads and weight of the confidence, small LSTR"
detectors = [_base_.tiny.lstr]
methods = [
    dict(
        name=f"k{k}-lambda{weight:g}",
        title=f"k = {k}, lambda = {weight:g}",
        preset="selective-focus",
        options={"custom_hooks.0.k": k, "model.loss.confidence_weight": weight},
    )
    for k in (1, 2, 3)
    for weight in (1.0, 2.0, 4.0, 8.0)
]
bits = ["w4a4"]
seeds = [0, 1, 2]
