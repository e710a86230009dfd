# The methods of the paper's Table 1, and mmsf's own.

# As their authors have them: 20000 iterations of every layer or block, Selective Focus 5000 of the network. As in the paper,
# AdaRound and BRECQ take QDrop's dropping along.
_dropping = {"train_cfg.reconstruction.keep_probability": 0.5}
published = [
    dict(name="aciq", title="ACIQ", paper="ACIQ", draws=False),
    dict(name="omse", title="OMSE", paper="OMSE", draws=False),
    dict(name="adaround", title="AdaRound", paper="AdaRound", options=_dropping),
    dict(
        name="brecq",
        title="BRECQ",
        paper="BRECQ",
        options={**_dropping, "train_cfg.reconstruction.objective": "fisher"},
    ),
    dict(name="qdrop", title="QDrop", paper="QDrop"),
    dict(name="paper", title="Selective Focus, paper", paper="Ours"),
    dict(
        name="selective-focus",
        title="Selective Focus, mmsf",
        paper="Ours",
        options={"train_cfg.max_iters": 5000, "param_scheduler.0.T_max": 5000},
    ),
]

# For small detectors on a processor, with equally many frames: every layer or block, or the network, sees 400 x 8. But
# `selective-focus` is as its preset has it, 100, 250 or 400 x 8 by the bits, and BRECQ has 100 x 8 more for scales.
_as_many = {"train_cfg.reconstruction.iterations": 400, "train_cfg.reconstruction.batch_size": 8}
_of_the_network = {"train_cfg.max_iters": 400, "param_scheduler.0.T_max": 400}
small = [
    dict(name="aciq", title="ACIQ", paper="ACIQ", draws=False),
    dict(name="omse", title="OMSE", paper="OMSE", draws=False),
    dict(name="adaround", title="AdaRound", paper="AdaRound", options=_as_many),
    dict(name="brecq", title="BRECQ", paper="BRECQ", options={**_as_many, "train_cfg.reconstruction.scale_iterations": 100}),
    dict(name="qdrop", title="QDrop", paper="QDrop", options=_as_many),
    dict(name="paper", title="Selective Focus, paper", paper="Ours", options={"train_cfg.max_iters": 400}),
    dict(name="selective-focus", title="Selective Focus, mmsf", paper="Ours"),
    dict(name="best", title="mmsf best", options=_of_the_network),
]
