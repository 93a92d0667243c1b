"""Families of architectures, a folder each, and what recognises them.

beside/         Settings that training code left anywhere in a checkpoint, compared with what was built
crossformer/    CrossFormer and CrossFormer++ of the official code
efficientnet/   EfficientNets: one file per training code (from_*.py), and the network
heads/          The classifier that training code put beside a network, or instead of the origin's own
shared/         What several families share: loading, class names, heads, and the files of training
                libraries
vit/            Vision transformers: one file per training code (from_*.py), the network, and the form that
                exports well
yolo/           YOLO: one folder per training code, and what the detectors share
base.py         What a family of architectures must provide to be exported
known_networks.py  Networks of timm and torchvision that deploykit does not read, known by names of their
                tensors
networks.py     Several networks in one state dict: student and teacher, online and momentum encoders, an
                ensemble
registry.py     The registry of families
settings.py     Every setting that a checkpoint holds, and what became of it: nothing is dropped silently
unsupported.py  Architectures that are recognised but not supported: one table, so that a refusal can name
                what it refuses
"""
