"""Image towers of CLIP and SigLIP.

from_open_clip.py          Image towers of OpenAI's CLIP and of open_clip: their own ViT, and timm's
                           (``visual.trunk``)
from_transformers_clip.py  Image towers of CLIP and SigLIP in Hugging Face transformers: whole models,
                           towers with and without a projection, and image classifiers, which average the
                           patches
open_clip_config.py        What is known about a CLIP of OpenAI or open_clip: open_clip_config.json, a name,
                           the form of the file
open_clip_witness.py       open_clip's own image tower and transform, as a second reading of a checkpoint
projection.py              The projection of a CLIP where timm keeps it: as the classifier of its network
"""
