"""CrossFormer and CrossFormer++ of the official code.

attention.py      Multi-head self-attention within the groups of CrossFormer
config.py         What a CrossFormer's training configuration says that its weights cannot
embedding.py      CrossFormer's cross-scale embedding: convolutions of several kernel sizes over the same
                  grid
exportable.py     The forms of CrossFormer that export well; both compute what ``CrossFormer`` computes
family.py         CrossFormer and CrossFormer++: classifiers and backbones of the official code
from_official.py  CrossFormer weights of the official code: what their keys and shapes show
grouping.py       How CrossFormer divides a map of tokens into groups for short and long distance attention
network.py        CrossFormer and CrossFormer++, which no library ships
position_bias.py  CrossFormer's dynamic position bias: an MLP from a relative offset to one number per head
"""
