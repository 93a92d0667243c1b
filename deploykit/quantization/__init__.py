"""Model files below float32.

``options``  what ``quantize`` takes
``fp16``     a typed float16 file
``int8``     8 bits within an accuracy budget, searched for and proven
"""
