"""Models of the YOLOv5 repository.

blocks.py    The building blocks of YOLOv5, releases 1.0 to 7.0 (https://github.com/ultralytics/yolov5)
dialect.py   Checkpoints pickled by the YOLOv5 repository: anchor-based detectors, segmenters and
             classifiers
leaves.py    torch.nn modules rebuilt from their inert stand-ins
network.py   YOLOv5: a list of layers wired by index, and its anchor-based heads
settings.py  What a YOLOv5 file says beside its weights, and what becomes of it
tree.py      From a pickled YOLOv5 module, read as an inert tree, to our network of the same parts
"""
