"""Models of the YOLOX repository.

backbones.py   The backbones and necks of YOLOX: CSPDarknet with a path aggregation network, and the
               Darknet-53 with a feature pyramid of its YOLOv3 baseline
blocks.py      The building blocks of YOLOX (https://github.com/Megvii-BaseDetection/YOLOX, Apache-2.0)
dialect.py     Checkpoints of YOLOX (https://github.com/Megvii-BaseDetection/YOLOX): state dicts whose
               architecture is read from the shapes
experiment.py  The experiment of a YOLOX: its settings, from the text of its Python file or as a mapping
network.py     YOLOX: an anchor-free detector with a decoupled head (https://arxiv.org/abs/2107.08430)
shapes.py      The architecture of a YOLOX state dict, read from its keys and shapes
witness.py     A YOLOX as the yolox package builds it, where that is installed
"""
