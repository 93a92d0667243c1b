"""TensorRT 10, TensorRT 11 and TensorRT for RTX behind one adapter.

    bindings.py     which module provides the API, and every difference between the versions
    messages.py     what TensorRT says, and its errors as ours
    profiles.py     optimisation profiles: from the ranges a model declares, and from --shapes
    network.py      ONNX file -> network
    compile.py      network -> plan, with progress, timing cache and targets
    engine_file.py  raw plan + JSON sidecar, and whether they fit this machine
    ahead.py        `deploykit build`
    cuda.py         the calls of the CUDA runtime
    engine.py       plan -> engine, refitted where its weights were left out
    buffers.py      memory on both sides, grown when needed and kept
    context.py      one execution context with its stream and buffers
    runner.py       the pool of contexts that keeps the Runner protocol
    placement.py    what the engine inspector tells
    open.py         a model, engine or folder -> runner; rebuilds what does not fit

Sources: https://docs.nvidia.com/deeplearning/tensorrt/ (Python API), and the bindings themselves.
"""
