"""Checkpoints that are not files yet: by name, and from memory.

download.py   Weights by name: ``timm:vit_base_patch16_224[.tag]`` and ``ultralytics:yolo11n.pt``
in_memory.py  A module or its weights in memory, read the way of the file that would hold them
"""
