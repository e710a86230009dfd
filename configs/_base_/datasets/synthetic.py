# Synthetic roads in CULane's layout, split once and for all (mmsf/datasets/synthetic/splits.py):
#   python tools/make_synthetic.py --splits --out data/synthetic
# Training is watched, and presets are chosen, on the tuning split. The scored split is for results only:
#   --data-root data/synthetic/scored
# The input is small, so that a detector trains in an hour or two on two processor cores.
data_root = "data/synthetic/tuning"
train_data_root = "data/synthetic/train"
input_size = (144, 400)  # height, width of the network's input, pixels
calibration_root = ["data/synthetic/calibration"]  # folders of images to calibrate with
evaluation_dataset = dict(type="CULaneDataset", data_root=data_root, list_file="list/test.txt")

pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil", cache=True),
    dict(type="RandomFlip"),
    # The synthetic camera is mounted once for all frames: small moves only.
    dict(type="RandomAffine", rotation=1.0, scale=(0.96, 1.04), shift=(0.03, 0.02), probability=0.7),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="CULaneDataset", data_root=train_data_root, list_file="list/train.txt", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**evaluation_dataset, pipeline=pipeline, test_mode=True),
)
test_dataloader = val_dataloader
# Calibration sees images of its own split, and no labels.
calibration_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CalibrationDataset",
        calibration_root=calibration_root,
        count=512,
        exclude=[evaluation_dataset],
        pipeline=pipeline,
    ),
)

val_evaluator = dict(type="CULaneMetric")
test_evaluator = val_evaluator
