"""Rewrites of ONNX graphs.

apply.py                       The rewrites of an exported graph, in their order. A pass is a file, and a
                               line here
convolve_before_upsampling.py  Feature pyramids: the convolution of what was upsampled becomes the
                               upsampling of what was convolved
drop_unused.py                 Remove what no output needs
edit.py                        Rewrites on onnx-ir's form of a graph, in which every value knows its maker
                               and its readers
fold_normalisation.py          Fold the normalisation of the pixels into the convolution that reads them
name_dimensions.py             Give the inputs and outputs of a graph the sizes and names of axes that the
                               spec has
note_gates.py                  Squeeze-and-excitation (https://arxiv.org/abs/1709.01507): the sizes that a
                               runtime wants to know of it
pool_columns_first.py          Means of whole maps: each column first, then what is left of them, where the
                               size of the map is known
split_convolutions.py          Convolutions whose channels are split become one convolution per part
"""
