"""Accuracy on labelled pictures: what ``deploykit eval`` measures.

data/        labelled pictures of every form as one record
scores/      numbers from answers and truths
charts.py    curves and matrices as SVG and HTML
html.py      the report as one page
measure.py   the core: (picture, truth) after (picture, truth) through a model, a record of each
mistakes.py  the worst pictures, drawn with what was right
options.py   what is measured, and how
report.py    what was measured
run.py       models on a data set, from the files to the report
state.py     records on disk, so that an interrupted run goes on
targets.py   what is measured, by name: a model file on an engine, or a checkpoint in torch
"""
