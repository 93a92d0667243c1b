"""YOLO: one folder per training code, and what the detectors share.

ultralytics/      Models of the ultralytics package
yolov5/           Models of the YOLOv5 repository
yolox/            Models of the YOLOX repository
detector_spec.py  What the specs of detectors with objectness share: sizes, ranges, names and the groups of
                  the proof
distances.py      The distances of a YOLO head from distributions over them, in the form that engines run
                  fastest
family.py         YOLO: one front for the dialects, each of which knows one training code
grid.py           What the heads of YOLOv5 and YOLOX share: the cells of their output maps, as a graph that
                  follows the input's shape
selection.py      The selection of an end-to-end YOLO head, written so that every size can be traced
stem.py           Focus stems and spatial pyramid pooling, in the forms of training and of deployment
"""
