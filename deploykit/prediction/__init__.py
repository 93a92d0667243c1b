"""What ``predict`` does with pictures, before and after the model.

answering.py  Pictures through a model, one answer each: what ``predict`` does with files, URLs and watched
              folders
watching.py   A folder that fills: which pictures in it are complete, each of them once
"""
