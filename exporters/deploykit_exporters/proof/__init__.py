"""Proofs that reach behind our own reading of a checkpoint.

witness.py   the library that trained the model, as a second reader
"""
