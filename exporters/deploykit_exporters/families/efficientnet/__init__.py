"""EfficientNets: one file per training code (from_*.py), and the network.

family.py            EfficientNets of timm, torchvision, lukemelas, mmpretrain, Keras and transformers
from_mmpretrain.py   EfficientNets of mmpretrain (and mmcls)
from_timm.py         EfficientNets of timm: efficientnet_*, tf_efficientnet_*, -lite, -v2 and -EdgeTPU
from_torchvision.py  EfficientNets of torchvision: efficientnet_b0 to b7 and efficientnet_v2_s, _m, _l
names.py             Names of the published EfficientNets, their resolutions, and the key names of a file
network.py           EfficientNet, EfficientNetV2, -Lite and -EdgeTPU from the shape of their weights
pickled.py           What the pickled module of an EfficientNet says: eps, activation, and how each
                     convolution is applied
source.py            What the EfficientNet dialects share: the structure, read from translated weights, and
                     its name
tensorflow_trained/  EfficientNets that TensorFlow trained: of Keras, lukemelas and transformers
timm_named.py        timm's own EfficientNet of a name: what its weights do not show, and a comparison with
                     what is built
"""
