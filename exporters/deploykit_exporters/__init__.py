"""From a checkpoint to a proven ONNX file. Users reach it through ``import deploykit``.

Importing anything below needs the packages of the extra ``export``; what is missing is said here, once,
instead of by an ImportError somewhere in the middle.

bisect/               The first layer at which an engine leaves the reference
containers/           Reading of every checkpoint container; no code of a file is ever run
families/             Families of architectures, a folder each, and what recognises them
golden/               Golden answers: what a model answered in the process that trained it, against what
                      deploykit makes of it
graph/                The ONNX graph of a module: exported, described and written
ingraph/              Pre- and post-processing as torch modules and ONNX operators that go inside the graph
passes/               Rewrites of ONNX graphs
precision/            Typed float16 files, torch-free: an ONNX file in float32 in, one in float16 out
proof/                The proof that a file answers as the checkpoint does
sources/              Checkpoints that are not files yet: by name, and from memory
checkpoint.py         A checkpoint as the families see it: plain tensors, and everything else in the file
export.py             Checkpoint in, proven ONNX file out
inspect.py            What a checkpoint holds
load.py               A checkpoint by path or name -> the built model: the first half of every operation
option_values.py      Values of options that are files or what those hold: axes, training configurations,
                      class names
options.py            Options of an export, and of everything else that reads a checkpoint
plausible.py          Whether the model that a checkpoint describes can be meant, told before anything is
                      exported
precheck.py           What can be found wrong with a request before torch is loaded, which takes seconds
record.py             Record what a model answers in the process that trained it: golden answers for an
                      export to prove against
self_contained.py     Pre- and post-processing put inside a proven graph, and the proof of the whole
state_views.py        The prefixes under which the weights of a checkpoint can be read
torch_temporaries.py  Folders that torch makes whenever its compiler is imported, which the exporters do not
                      run
verify.py             The proof again, later, on the user's own images
"""

from __future__ import annotations

from importlib.util import find_spec

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import DependencyError

__all__ = ["__version__"]

_NEEDED = ("torch", "timm", "onnx", "onnxscript", "onnxsim", "safetensors")


def _require_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"Checkpoints are read and exported with {', '.join(_NEEDED)}; "
            f"not installed: {', '.join(missing)}.",
            hint="Install them with: pip install 'deploykit[export]'",
        )


_require_packages()
