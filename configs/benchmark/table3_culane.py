# The paper's Table 3: time against QDrop and LSQ+ on CULane. Needs data/culane and checkpoints/{condlanenet,resa}-small.pth.
# LSQ+ trains on CULane's labelled training split, as long as the float network: the paper does not say how long it did.
_base_ = ["../_base_/benchmark/culane.py"]

title = "Table 3: time on CULane"
table = 3
detectors = [_base_.culane["condlanenet-small"], _base_.culane["resa-small"]]
methods = [
    dict(name="lsq-plus", title="LSQ+", paper="LSQ+"),
    dict(name="qdrop", title="QDrop", paper="QDrop"),
    dict(name="paper", title="Selective Focus", paper="Ours"),
]
bits = ["w8a4"]
