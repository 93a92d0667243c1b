"""From the raw outputs of a model to results in pixels of the image.

classification.py  The best classes of an image
decode.py          Raw outputs of every supported head into results in pixels of the image
detection.py       One detection of a picture, as iterating ``Detections`` gives it
displayed.py       What every result can do besides holding its numbers: be drawn, shown, saved, and become
                   rows
draw.py            Boxes, masks, keypoints and labels drawn into a picture
features.py        Feature maps of a backbone
heads.py           The rows of every detection head above a score, before suppression or after it
masks.py           Instance masks from the prototypes and coefficients of a YOLO segmentation head
nms.py             Non-maximum suppression, of upright and of rotated boxes, as the YOLO codes do it
page.py            A result as HTML, for notebooks: the drawn picture over a table of what was found
results.py         What a model found in one image. Frozen, arrays included; coordinates are pixels of the
                   image
thresholds.py      What to keep of a model's answers: the thresholds, and what a model can follow of them
value_checks.py    Whether values are what a reading says that was inferred or declared: the proof that
                   other files lack
"""
