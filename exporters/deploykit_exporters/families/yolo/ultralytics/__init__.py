"""Models of the ultralytics package.

classifier_transforms.py  Pre-processing of Ultralytics classifiers, as the transforms pickled with the
                          model describe it
dialect.py                Checkpoints of the ultralytics package: YOLOv3u, v5u, v8, v9, v10, 11, 12 and 26;
                          detection, segmentation, pose, oriented boxes and classification
forks.py                  Modules that forks of ultralytics pickle under the released package's names
head.py                   The last layer of an Ultralytics network: its task, and which of its branches
                          answers
modules.py                Pickled Ultralytics modules -> modules of the installed ultralytics package
network.py                The two forms of an Ultralytics network: the reference, and one that exports well
settings.py               What an Ultralytics file says beside its weights, and what becomes of it
spec.py                   What the file of an Ultralytics model says about itself: task, names, sizes,
                          outputs
state_dict.py             The weights of an Ultralytics network without its modules: a state dict, and the
                          yaml that says what it is
witness.py                The model of an Ultralytics file as the package's own constructor builds it, and
                          its own pre-processing
yaml.py                   Networks that Ultralytics' own constructor builds from a yaml: of a checkpoint, or
                          of the user
"""
