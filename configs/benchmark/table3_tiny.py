# The paper's Table 3, time against QDrop and LSQ+, with small detectors on synthetic roads. Selective Focus and QDrop have
# 8 % of the published iterations each.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Time, small detectors on synthetic roads"
detectors = [_base_.tiny.condlanenet, _base_.tiny.resa]
methods = [
    dict(name="lsq-plus", title="LSQ+"),
    dict(name="qdrop", title="QDrop", options={"train_cfg.reconstruction.iterations": 1600}),
    dict(name="selective-focus", title="Selective Focus"),
]
bits = ["w8a4"]
seeds = [0, 1, 2]
