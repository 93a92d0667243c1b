"""Vision transformers: one file per training code (from_*.py), the network, and the form that exports well.

eva/                         ViTs with rotary or relative positions, built from timm's own networks
exportable.py                The same ViT as ``families/vit/network.py``, in a form that exports to a small
                             and fast graph
family.py                    Vision transformers of timm, torchvision, mmpretrain, transformers, DINOv2,
                             OpenAI's CLIP and open_clip
from_dinov2.py               ViT weights of the official DINOv2 repository: its backbones, and its
                             classifiers with a linear head
from_mmpretrain.py           ViT weights of mmpretrain (and mmcls): VisionTransformer,
                             DistilledVisionTransformer and DeiT3
from_open_clip.py            Image towers of OpenAI's CLIP and of open_clip: their own ViT, and timm's
                             (``visual.trunk``)
from_timm.py                 ViT weights of timm, and of the original DeiT, DeiT III, MAE and AugReg code,
                             which share its names
from_torchvision.py          ViT weights of torchvision (``torchvision.models.vit_b_16`` and its relatives)
from_transformers.py         ViT and DeiT weights of Hugging Face transformers, with config.json and
                             preprocessor_config.json
from_transformers_clip.py    Image towers of CLIP and SigLIP in Hugging Face transformers: whole models,
                             towers with and without a projection, and image classifiers, which average the
                             patches
from_transformers_dinov2.py  DINOv2 of Hugging Face transformers: ``Dinov2Model``,
                             ``Dinov2WithRegistersModel`` and their classifiers, whose head sees the class
                             token and the mean of the patches
network.py                   Vision transformers: the architecture read from the weights, and timm's network
                             for it
open_clip_config.py          What is known about a CLIP of OpenAI or open_clip: open_clip_config.json, a
                             name, the form of the file
open_clip_witness.py         open_clip's own image tower and transform, as a second reading of a checkpoint
pooling.py                   What turns the tokens of a ViT into one vector, where timm's network has
                             nothing like it
positions.py                 Position embeddings of a ViT at any grid, in torch's form and in a form that
                             every engine takes
projection.py                The projection of a CLIP where timm keeps it: as the classifier of its network
source.py                    What a ViT dialect says about a checkpoint, and the architecture that follows
                             from the shapes
timm_named.py                timm's own model of the name that a ViT checkpoint gives, and how far the
                             weights are that model
transformers_layers.py       Layers of transformers in the form in which timm keeps them
"""
