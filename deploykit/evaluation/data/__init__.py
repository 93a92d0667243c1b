"""Labelled pictures of every form that ``eval`` takes, as one record.

classes.py  the classes of the labels against those of the model
coco.py     COCO's JSON: boxes, masks, keypoints
coco_checks.py  what COCO's evaluation would take in silence
files.py    the pictures of a folder, and what else lies there
folder.py   a folder of class folders
labels.py   Ultralytics' label files
read.py     which of them it is
strangers.py  limits of what such files may name and hold
table.py    a CSV or text list: a picture and its class a line
truth.py    the record
yolo.py     Ultralytics' data.yaml
"""
