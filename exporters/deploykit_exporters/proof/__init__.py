"""Proofs that reach behind our own reading of a checkpoint.

cases.py     the inputs
float64.py   what to make of inputs on which float32 cannot tell
raised.py    a detector on pictures without its objects
witness.py   the library that trained the model, as a second reader
"""
