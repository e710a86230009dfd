# Synthetic roads in CULane's layout:
#   python tools/make_synthetic.py --frames 4000 --seed 1 --out data/synthetic/train
#   python tools/make_synthetic.py --frames 300 --seed 2 --out data/synthetic/test
# The input is small, so that a detector trains in an hour on a few processor cores.
data_root = "data/synthetic/test"
train_data_root = "data/synthetic/train"
input_size = (144, 400)  # height, width of the network's input, pixels
calibration_root = [train_data_root]  # folders of images to calibrate with
evaluation_dataset = dict(type="CULaneDataset", data_root=data_root, list_file="list/test.txt")

pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="cv2"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="cv2", cache=True),
    dict(type="RandomFlip"),
    dict(type="RandomAffine"),
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
# Calibration sees images of the training frames, never evaluation frames, and no labels.
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
