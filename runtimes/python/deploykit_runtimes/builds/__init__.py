"""What is compiled ahead of time and kept beside a model.

build.py         Ahead-of-time engines: one entry for every runtime that compiles before it runs
caches.py        Caches filled ahead of time, for engines that keep what they compile in a folder of their
                 own form
ep_context.py    ONNX files with what an execution provider compiled inside: EPContext nodes, written ahead
                 of time
model_folder.py  Engine files and the folders that ``deploykit build`` writes: which file a runtime opens
"""
