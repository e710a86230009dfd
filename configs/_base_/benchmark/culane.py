# The public checkpoints of the paper's fourteen detectors on CULane, by name. docs/benchmark.md says which file is which.
culane = {
    name: dict(
        name=name,
        title=paper,
        config=f"configs/{config}.py",
        checkpoint=f"checkpoints/{name}.pth",
        data_root="data/culane",
        paper=paper,
    )
    for name, config, paper in (
        ("condlanenet-small", "condlanenet/condlanenet_small_culane", "CondLaneNet Small"),
        ("condlanenet-mid", "condlanenet/condlanenet_medium_culane", "CondLaneNet Mid"),
        ("ganet-small", "ganet/ganet_small_culane", "GANet Small"),
        ("ganet-mid", "ganet/ganet_medium_culane", "GANet Mid"),
        ("lstr-small", "lstr/lstr_r18s-2x_culane", "LSTR Small"),
        ("lstr-mid", "lstr/lstr_r34_culane", "LSTR Mid"),
        ("bezierlanenet-small", "bezierlanenet/bezierlanenet_r18_culane", "BézierLaneNet Small"),
        ("bezierlanenet-mid", "bezierlanenet/bezierlanenet_r34_culane", "BézierLaneNet Mid"),
        ("laneatt-small", "laneatt/laneatt_r18_culane", "LaneATT Small"),
        ("laneatt-mid", "laneatt/laneatt_r34_culane", "LaneATT Mid"),
        ("scnn-small", "scnn/scnn_r18_culane", "SCNN Small"),
        ("scnn-mid", "scnn/scnn_r34_culane", "SCNN Mid"),
        ("resa-small", "resa/resa_r18_culane", "RESA Small"),
        ("resa-mid", "resa/resa_r34_culane", "RESA Mid"),
    )
}
