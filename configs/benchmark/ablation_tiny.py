# What the parts of the preset `best` do: small LSTR, W4A4, each part left out alone.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Parts of the preset `best`, small LSTR on synthetic roads"
detectors = [_base_.tiny.lstr]
methods = [
    dict(name="best", title="best", preset="best"),
    dict(
        name="heads",
        title="loss on heads (Eq. 6), not on decoded lanes",
        preset="best",
        options={"model.loss.type": "mmsf.SelectiveFocusLoss"},
    ),
    dict(name="unequal", title="no equalisation", preset="best", options={"train_cfg.equalisation": False}),
    dict(
        name="fixed-scales",
        title="activation scales not learned",
        preset="best",
        options={"model.quantizer.learn_activation_scale": False},
    ),
    dict(
        name="no-mean",
        title="no running mean at the best moment",
        preset="best",
        options={"custom_hooks.1.mean_decay": 0},
    ),
    dict(
        name="correction",
        title="with weight correction",
        preset="best",
        options={"train_cfg.weight_correction": True},
    ),
    dict(
        name="semantic",
        title="with a tenth of Eq. 6's semantic term",
        preset="best",
        options={"model.loss.semantic_weight": 0.1},
    ),
    dict(
        name="customary",
        title="first and last layers at 8 bits",
        preset="best",
        options={"model.quantizer.scheme": "customary"},
    ),
    dict(
        name="dithered",
        title="with dithered images",
        preset="best",
        options={"model.quantizer.dither_images": True},
    ),
    dict(name="selective-focus", title="preset selective-focus", preset="selective-focus"),
    dict(
        name="slope",
        title="preset selective-focus, weights by slope",
        preset="selective-focus",
        options={"custom_hooks.0.selection": "slope"},
    ),
    dict(name="best-mixed", title="preset best-mixed", preset="best-mixed"),
    dict(
        name="undithered",
        title="preset best-mixed, images not dithered",
        preset="best-mixed",
        options={"model.quantizer.dither_images": False},
    ),
]
options = {"train_cfg.max_iters": 400, "param_scheduler.0.T_max": 400}
bits = ["w4a4"]
