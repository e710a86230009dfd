# The paper's Table 3, time against QDrop and LSQ+, with small detectors on synthetic roads. QDrop has 2 % of the published
# iterations in batches of the published size, LSQ+ 8 % of the float schedule, and Selective Focus those of its preset.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Time, small detectors on synthetic roads"
note = _base_.tiny_note
table = 3
detectors = [_base_.tiny.condlanenet, _base_.tiny.resa]
methods = [
    dict(name="lsq-plus", title="LSQ+", paper="LSQ+", options={"train_cfg.schedule_share": 0.08}),
    dict(name="qdrop", title="QDrop", paper="QDrop", options={"train_cfg.reconstruction.iterations": 400}),
    dict(name="selective-focus", title="Selective Focus", paper="Ours"),
]
bits = ["w8a4"]
seeds = [0, 1, 2]
