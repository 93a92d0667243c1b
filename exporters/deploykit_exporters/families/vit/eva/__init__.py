"""ViTs with rotary or relative positions, built from timm's own networks.

beit/                        BEiT and data2vec, whose positions are relative
build.py                     Builds ViTs whose positions are rotary or relative from the network of the
                             library that trained them
from_dinov3.py               DINOv3 of its own repository (facebookresearch/dinov3), built as timm's
                             ``Eva``: backbones, and classifiers with a linear head on the class token and
                             the mean of the patches
from_eva02.py                EVA-02 of its own repository (baaivision/EVA), classifiers and pre-trained
                             models, built as timm's ``Eva``
from_timm.py                 timm's EVA, EVA-02, DINOv3 and other ViTs with rotary positions (``Eva``), and
                             its BEiTs (``Beit``)
from_transformers_dinov3.py  DINOv3 of Hugging Face transformers (``DINOv3ViTModel``), built as timm's
                             ``Eva``, which computes the same
network.py                   timm's ``Eva`` (EVA, EVA-02, DINOv3, ViTs with rotary positions) and ``Beit``
                             (relative positions)
rotary.py                    Rotary position embeddings (Su et al., "RoFormer", 2021) of image patches, at
                             any grid
source.py                    What a dialect says about a checkpoint of a network that is timm's own ``Eva``
                             or ``Beit``
timm_shapes.py               What the dialects of repositories share whose networks are built from timm's
"""
