"""Pre- and post-processing as torch modules and ONNX operators that go inside the graph.

compose.py       One graph out of three: pre-processing, network, post-processing
detection/       Post-processing of detectors: from heads to finished detections
opencv.py        ``cv2.resize`` inside a graph: bilinear and bicubic, not antialiased
operators.py     ONNX operators as they are, where PyTorch's exporter writes a dozen for one
pillow.py        ``Image.resize`` of Pillow, with its antialiasing, inside a graph
postprocess.py   A model's post-processing inside its graph: heads in, finished answers out
preprocess.py    A model's pre-processing inside its graph: raw pixels in, input tensor out
raise_scores.py  A copy of a finished graph whose post-processing has work: the scores before it are raised
ranking.py       The highest scores in one order everywhere
resize.py        Pillow's and OpenCV's ``resize`` as standard ONNX operators, for images of any size
sizes.py         Sizes of the pre-processing, computed in the graph as the host computes them
"""
