# The small detectors of synthetic roads, by name, and the paper's networks of the same families. These are larger and were
# evaluated on CULane: wherever their figures stand beside, the table has to say so.
tiny_note = (
    "**The figures in brackets are not ours and cannot be compared with those beside them.** They are printed in the paper, "
    "for larger networks on CULane; ours are of small networks on synthetic roads. They show the paper's order of methods, "
    "no more."
)
tiny = {
    name: dict(
        name=name,
        title=title,
        config=f"configs/{name}/{name}_tiny_synthetic.py",
        checkpoint=f"mmsf/zoo/{name}_tiny_synthetic.pth",
        data_root="data/synthetic/scored",
        calibration_root=["data/synthetic/calibration"],
        paper=f"{title} Small",
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
