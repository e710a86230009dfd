# The paper's Table 3, time against QDrop and LSQ+, with small detectors on synthetic roads. Selective Focus and QDrop have
# 8 % of the published iterations each.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Time, small detectors on synthetic roads"
note = _base_.tiny_note
table = 3
detectors = [_base_.tiny.condlanenet, _base_.tiny.resa]
methods = [
    dict(name="lsq-plus", title="LSQ+", paper="LSQ+"),
    dict(name="qdrop", title="QDrop", paper="QDrop", options={"train_cfg.reconstruction.iterations": 1600}),
    dict(name="selective-focus", title="Selective Focus", paper="Ours"),
]
bits = ["w8a4"]
seeds = [0, 1, 2]
