"""timm: what it writes beside weights, the models it builds by name, and the witness.

config.py    What timm writes beside the weights: training arguments, and the configuration of published
             ones
template.py  The model that timm builds under a name and with the arguments that a file gives
witness.py   timm's own model and transform, as a second reading of a checkpoint
"""
