# Methods at several lengths of tuning, from 1000 to 20000 sample passes, each run annealed to its own end. The methods that
# tune block after block see as many frames in every block as the others do in the network; a fifth of BRECQ's go into its
# second pass, over activation scales. 8 frames are a mini-batch, so 1000 passes are 125 iterations.
_passes = (1000, 2000, 5000, 10000, 20000)
untuned = [
    dict(name="aciq", title="ACIQ", curve="ACIQ", draws=False),
    dict(name="omse", title="OMSE", curve="OMSE", draws=False),
]
ladder = [
    dict(name=f"{preset}-{passes}", title=f"{title}, {passes} passes", preset=preset, curve=title, options=options)
    for passes in _passes
    for preset, title, options in (
        (
            "adaround",
            "AdaRound",
            {"train_cfg.reconstruction.iterations": passes // 8, "train_cfg.reconstruction.batch_size": 8},
        ),
        (
            "brecq",
            "BRECQ",
            {
                "train_cfg.reconstruction.iterations": passes // 10,
                "train_cfg.reconstruction.scale_iterations": passes // 40,
                "train_cfg.reconstruction.batch_size": 8,
            },
        ),
        (
            "qdrop",
            "QDrop",
            {"train_cfg.reconstruction.iterations": passes // 8, "train_cfg.reconstruction.batch_size": 8},
        ),
        ("paper", "Selective Focus, paper", {"train_cfg.max_iters": passes // 8}),
        (
            "selective-focus",
            "Selective Focus, mmsf",
            {"train_cfg.max_iters": passes // 8, "param_scheduler.0.T_max": passes // 8},
        ),
    )
]
