# How fast the detectors are at the authors' sizes. Time does not depend on weights, so random ones do; with a checkpoint a
# detector can be timed by itself:
#   python tools/benchmark.py deploy configs/benchmark/deploy_full.py --detectors laneatt --checkpoint FILE
# Every set of roads in CULane's layout serves.
title = "Speed at full size"
detectors = [
    dict(name=name, config=f"configs/{folder}/{name}.py", data_root="data/synthetic/scored")
    for folder, name in (
        ("condlanenet", "condlanenet_small_culane"),
        ("condlanenet", "condlanenet_medium_culane"),
        ("ganet", "ganet_small_culane"),
        ("ganet", "ganet_medium_culane"),
        ("lstr", "lstr_r18s-1x_culane"),
        ("lstr", "lstr_r34_culane"),
        ("bezierlanenet", "bezierlanenet_r18_culane"),
        ("bezierlanenet", "bezierlanenet_r34_culane"),
        ("laneatt", "laneatt_r18_culane"),
        ("laneatt", "laneatt_r34_culane"),
        ("scnn", "scnn_r18_culane"),
        ("resa", "resa_r18_culane"),
    )
]
methods = [dict(name="omse")]
bits = ["w8a8"]
seeds = [0]
