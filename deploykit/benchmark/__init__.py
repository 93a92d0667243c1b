"""Measuring models: timing, the environment record, and reports.

environment.py  The record of where a measurement was taken; without it a number cannot be compared
html.py         A measurement as one self-contained web page: tables and inline SVG, no network, light and
                dark
options.py      The options of a benchmark, shared by the command line and Python
processes.py    Several engines compared, each in a process of its own, measured in turns
report.py       A measurement as data: rows, environment and warnings, for JSON and the terminal
run.py          Measure one model file on engines and batch sizes, all interleaved in one run
target.py       What is measured, by name: a model file on an engine, or its checkpoint in torch
timing.py       Timing that can be trusted: pure functions over samples, and an interleaved measurement
worker.py       One side of a comparison in a process of its own: ``python -m deploykit.benchmark.worker``
"""
