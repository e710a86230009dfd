# Is net-wise tuning as good as QDrop at its authors' length, 20000 iterations of every block in batches of 32? Hours for
# each detector; a stopped cell goes on at the block where it was.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "QDrop at its authors' length, small detectors on synthetic roads"
detectors = list(_base_.tiny.values())
methods = [
    dict(name="selective-focus", title="Selective Focus, 400 iterations"),
    dict(name="best", title="mmsf best, 800 iterations"),
    dict(name="qdrop", title="QDrop, 20000 iterations a block"),
]
bits = ["w4a4"]
