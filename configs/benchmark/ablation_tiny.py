# What the parts of the preset `best` do: small LSTR, W4A4, each part left out alone; and what is a switch of other presets.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/ablation.py"]

title = "Parts of the preset `best`, small LSTR on synthetic roads"
detectors = [_base_.tiny.lstr]
# As many frames for every method: 400 x 8, in the network or in every block. The rate of block-wise tuning is ten times the
# authors', so that a rounding can move by 4 in 400 iterations, as far as with theirs in 4000.
_network = {"train_cfg.max_iters": 400, "param_scheduler.0.T_max": 400}
_blocks = {
    "train_cfg.reconstruction.iterations": 400,
    "train_cfg.reconstruction.batch_size": 8,
    "optim_wrapper.optimizer.lr": 1e-2,
}
_brecq = {**_blocks, "train_cfg.reconstruction.scale_iterations": 100}
methods = [
    dict(name="best", title="best", preset="best", options=_network),
    dict(
        name="heads",
        title="loss on heads (Eq. 6), not on decoded lanes",
        preset="best",
        options={**_network, "model.loss.type": "mmsf.SelectiveFocusLoss"},
    ),
    dict(
        name="unequal",
        title="no equalisation",
        preset="best",
        options={**_network, "train_cfg.equalisation": False},
    ),
    dict(
        name="fixed-scales",
        title="activation scales not learned",
        preset="best",
        options={**_network, "model.quantizer.learn_activation_scale": False},
    ),
    dict(
        name="no-mean",
        title="no running mean at the best moment",
        preset="best",
        options={**_network, "custom_hooks.1.mean_decay": 0},
    ),
    dict(
        name="correction",
        title="with weight correction",
        preset="best",
        options={**_network, "train_cfg.weight_correction": True},
    ),
    dict(
        name="semantic",
        title="with a tenth of Eq. 6's semantic term",
        preset="best",
        options={**_network, "model.loss.semantic_weight": 0.1},
    ),
    dict(
        name="customary",
        title="first and last layers at 8 bits",
        preset="best",
        options={**_network, "model.quantizer.scheme": "customary"},
    ),
    dict(
        name="dithered",
        title="with dithered images",
        preset="best",
        options={**_network, "model.quantizer.dither_images": True},
    ),
    dict(name="selective-focus", title="preset selective-focus", preset="selective-focus", options=_network),
    dict(
        name="slope",
        title="preset selective-focus, weights by slope",
        preset="selective-focus",
        options={**_network, "custom_hooks.0.selection": "slope"},
    ),
    dict(
        name="half-focus",
        title="preset selective-focus, focus_power 0.5",
        preset="selective-focus",
        options={**_network, "model.loss.focus_power": 0.5},
    ),
    dict(
        name="no-focus",
        title="preset selective-focus, focus_power 0",
        preset="selective-focus",
        options={**_network, **_base_.no_focus},
    ),
    dict(name="best-mixed", title="preset best-mixed", preset="best-mixed", options=_network),
    dict(
        name="undithered",
        title="preset best-mixed, images not dithered",
        preset="best-mixed",
        options={**_network, "model.quantizer.dither_images": False},
    ),
    dict(name="qdrop", title="preset qdrop", preset="qdrop", options=_blocks),
    dict(
        name="qdrop-lanes",
        title="preset qdrop, errors by how far they move lanes",
        preset="qdrop",
        options={**_blocks, "train_cfg.reconstruction.objective": "lanes"},
    ),
    dict(
        name="brecq",
        title="preset brecq, errors by Fisher weights",
        preset="brecq",
        options={**_brecq, "train_cfg.reconstruction.objective": "fisher"},
    ),
    dict(
        name="brecq-lanes",
        title="preset brecq, errors by how far they move lanes",
        preset="brecq",
        options={**_brecq, "train_cfg.reconstruction.objective": "lanes"},
    ),
]
bits = ["w4a4"]
