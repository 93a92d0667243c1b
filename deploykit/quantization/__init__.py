"""Lower precision: smaller and faster files, with the accuracy that they cost.

``int8``  8 bits within an accuracy budget, searched for and proven
"""
