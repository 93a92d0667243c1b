"""What several families share: loading, class names, heads, and the files of training libraries.

mm/                    mmpretrain and mmcls: configurations, models, and the witness
timm_library/          timm: what it writes beside weights, the models it builds by name, and the witness
transformers_library/  Hugging Face transformers: what it writes beside weights, and the witness
channels.py            Pre-processing for networks whose images have another number of channels than three
class_names.py         The names of a model's classes: those that the user gives, else those of the file,
                       else what is known
classifiers.py         What the families of image classifiers share: finding the dialect, and what settings
                       may be
coco.py                The class names of COCO (https://cocodataset.org), in the order that 80-class
                       detectors use
given_preprocess.py    Pre-processing as the user gives it in timm's words with --config, over that of a
                       file or an origin
imagenet.py            What ImageNet training code shares: class names, normalisation, and evaluation pre-
                       processing
loading.py             Loading weights into a module, with none missing, left over or of the wrong shape
pickled.py             The code of a pickled network: whose classes its modules have
same_padding.py        TensorFlow's SAME padding, correct at every size, even after export
setting_values.py      Values of settings, which can be anything, read as what they should be
torchvision_files.py   What torchvision's training script (``references/classification/train.py``) writes
                       beside the weights, and torchvision's own model as a second reading of a checkpoint
unfilled.py            Networks without weights, built for those of a file
unused.py              Tensors of a checkpoint that an exported model does not use: named and reported,
                       never dropped silently
"""
