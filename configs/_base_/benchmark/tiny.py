# The small detectors of synthetic roads, by name. The paper's figures are other networks' on CULane, so none stands beside.
tiny = {
    name: dict(
        name=name,
        title=title,
        config=f"configs/{name}/{name}_tiny_synthetic.py",
        checkpoint=f"mmsf/zoo/{name}_tiny_synthetic.pth",
        data_root="data/synthetic/scored",
        calibration_root=["data/synthetic/calibration"],
    )
    for name, title in (
        ("condlanenet", "CondLaneNet"),
        ("ganet", "GANet"),
        ("lstr", "LSTR"),
        ("bezierlanenet", "BézierLaneNet"),
        ("laneatt", "LaneATT"),
        ("scnn", "SCNN"),
        ("resa", "RESA"),
    )
}
