"""BEiT and data2vec, whose positions are relative: built as timm's ``Beit``.

from_beit.py               BEiT and BEiT v2 of their own repository (microsoft/unilm), whose keys are timm's
from_transformers_beit.py  BEiT of Hugging Face transformers (``BeitModel``) and data2vec's ViT, which has
                           the same layers (``Data2VecVisionModel``): built as timm's ``Beit``, which
                           computes the same
relative_positions.py      How transformers' BEiT resizes what it keeps for one size of images
shapes.py                  What the shapes of a BEiT's weights, under timm's names, say about timm's
                           ``Beit``: nearly everything
training.py                What the training code of BEiT (microsoft/unilm), and of EVA-02 after it, saves
                           beside weights
"""
