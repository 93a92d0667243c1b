"""Hugging Face transformers: what it writes beside weights, and the witness.

files.py    What Hugging Face transformers writes beside weights: config.json and preprocessor_config.json
witness.py  transformers' own model and image processor, as a second reading of a checkpoint
"""
