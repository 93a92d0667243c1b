"""TensorRT 10, TensorRT 11 and TensorRT for RTX behind one adapter.

    bindings.py     which module provides the API, and every difference between the versions
    messages.py     what TensorRT says, and its errors as ours
    profiles.py     optimisation profiles: from the ranges a model declares, and from --shapes
    engine_file.py  raw plan + JSON sidecar, and whether they fit this machine
    cuda.py         the calls of the CUDA runtime
    engine.py       plan -> engine, refitted where its weights were left out
    open.py         a model, engine or folder -> runner; rebuilds what does not fit
    builder/        ONNX file -> engine: `deploykit build`
    execution/      engine -> runner: streams, buffers and the pool of contexts
    jit.py          What TensorRT for RTX compiles when an engine first runs, kept for the next process
    ultralytics.py  Engines that Ultralytics exports: a description in JSON, then the plan, in one file

Sources: https://docs.nvidia.com/deeplearning/tensorrt/ (Python API), and the bindings themselves.
"""
