"""Numbers from answers and truths, without torch and without an engine.

A record is what one picture contributes: arrays by name, of a few values an object, so that the records of a
whole data set fit into memory and into a file.

average_precision.py  matches, average precision, precision and recall, as Ultralytics counts them
bootstrap.py          how far the difference of two mAPs may be chance
classification.py     top-1, top-5, classes, confusion
coco.py               COCO's own evaluation
confusion.py          which class was taken for which, where there are boxes
detection.py          one picture of a detector: boxes, masks, keypoints, rotated boxes
geometry.py           how Ultralytics' val lays a picture into the tensor
masks.py              outlines and prototypes as masks
pairs.py              two models on the same pictures: agreement, McNemar's test
records.py            many records in a few arrays
rotated.py            Corners of rotated boxes as centre, sides and angle
"""
