"""EfficientNets that TensorFlow trained: of Keras, and in the forms of lukemelas and transformers.

from_keras.py         EfficientNets of Keras: `qubvel/efficientnet` and `keras.applications`, as .h5 weights
                      or models
from_lukemelas.py     EfficientNet-PyTorch by Luke Melas-Kyriazi, and the Lite weights published in its form
from_transformers.py  EfficientNets of Hugging Face transformers, with config.json and
                      preprocessor_config.json
keras_layers.py       The layers of a whole Keras model, as its configuration lists them: what they say
                      beyond the weights, and which of them would compute something else
training.py           Evaluation of the EfficientNets that TensorFlow trained, whatever form their weights
                      have
"""
