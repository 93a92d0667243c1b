"""From picture files to the tensor that a model takes, as its training code does it.

bands.py          Files with other channels than colours or grey: RGBA and multispectral images, not
                  converted
fetch.py          A picture behind an http(s) URL, within limits of bytes, time and redirects
geometry.py       Where the pixels of an image lie in the input tensor, and the way back
grey.py           Colours to grey, in the arithmetic of the library that the training code decodes images
                  with
images.py         Images from files, bytes, Pillow and numpy, as the training codes decode them
listing.py        Files, folders and glob patterns as a list of image files
npy.py            Arrays of pixels in .npy files
picture.py        The picture that a result is of, kept so that the result can be drawn without giving it
                  again
pixel_format.py   What a model takes of an image: how many channels, which colours, and whose decoder made
                  them
preprocess.py     A decoded image into the model's input tensor, exactly as its training code does it
resample.py       OpenCV's ``resize`` for uint8 images, in numpy, to the bit
sources.py        What a caller may give as a picture, brought to the few forms that the reader takes
tensor_memory.py  Memory for input tensors that is used again
urls.py           Which sources are URLs, and how a message names them
"""
