"""Pictures through a model, in one call.

options.py    What ``Predictor.predict`` takes: its sources and options, and what others have there
predictor.py  Images in, results out: pre-processing, batches through a runner, decoding
timings.py    Where the time of a call goes
"""
