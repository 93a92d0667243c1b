"""mmpretrain and mmcls: configurations, models, and the witness.

config.py   Configurations of the mm* libraries: Python text, read without running it
model.py    ``model`` of an mmpretrain (or mmcls) configuration: every setting of it is followed, known to
            be harmless, or refused by its name
witness.py  mmpretrain's own model and test pipeline, as a second reading of a checkpoint
"""
