"""Vision transformers: one file per training code (from_*.py), the network, and the form that exports well.

clip/                   Image towers of CLIP and SigLIP: OpenAI, open_clip and transformers
dinov2/                 DINOv2, of its own repository and of transformers
eva/                    ViTs with rotary or relative positions, built from timm's own networks
exportable.py           The same ViT as ``families/vit/network.py``, in a form that exports to a small and
                        fast graph
family.py               Vision transformers of timm, torchvision, mmpretrain, transformers, DINOv2, OpenAI's
                        CLIP and open_clip
from_mmpretrain.py      ViT weights of mmpretrain (and mmcls): VisionTransformer, DistilledVisionTransformer
                        and DeiT3
from_timm.py            ViT weights of timm, and of the original DeiT, DeiT III, MAE and AugReg code, which
                        share its names
from_torchvision.py     ViT weights of torchvision (``torchvision.models.vit_b_16`` and its relatives)
from_transformers.py    ViT and DeiT weights of Hugging Face transformers, with config.json and
                        preprocessor_config.json
network.py              Vision transformers: the architecture read from the weights, and timm's network for
                        it
pooling.py              What turns the tokens of a ViT into one vector, where timm's network has nothing
                        like it
positions.py            Position embeddings of a ViT at any grid, in torch's form and in a form that every
                        engine takes
source.py               What a ViT dialect says about a checkpoint, and the architecture that follows from
                        the shapes
timm_named.py           timm's own model of the name that a ViT checkpoint gives, and how far the weights
                        are that model
transformers_layers.py  Layers of transformers in the form in which timm keeps them
unstated.py             Assumptions about a ViT where the file says nothing, as a sentence for the user
"""
