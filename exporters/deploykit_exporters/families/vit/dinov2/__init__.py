"""DINOv2: backbones and classifiers.

from_dinov2.py               ViT weights of the official DINOv2 repository: its backbones, and its
                             classifiers with a linear head
from_transformers_dinov2.py  DINOv2 of Hugging Face transformers: ``Dinov2Model``,
                             ``Dinov2WithRegistersModel`` and their classifiers, whose head sees the class
                             token and the mean of the patches
"""
