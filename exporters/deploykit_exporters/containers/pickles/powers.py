"""What calling a global named in a pickle could do, judged by its standard library module.

No module is imported here by a name from a file.
"""

from __future__ import annotations

import builtins
import ctypes
import functools
import glob
import importlib
import io
import logging
import marshal
import multiprocessing
import operator
import os
import pathlib
import pickle
import platform
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import types
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Literal

__all__ = ["Power", "canonical", "power_of"]

Power = Literal["harm", "compute", "none"]

# Classes that hold data, and functions that only make one.
_DATA = (
    *(
        "argparse.Namespace",
        "array.array",
        "array._array_reconstructor",
        "collections.*",
        "collections.abc.*",
        "datetime.*",
    ),
    *("contextlib.nullcontext", "copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"),
    *("decimal.*", "enum.*", "fractions.Fraction", "functools.partial", "functools.partialmethod"),
    *("http.HTTPStatus", "inspect.Parameter", "inspect.Signature", "inspect._ParameterKind"),
    *(
        "io.BytesIO",
        "io.StringIO",
        "ipaddress.IPv*",
        "logging.Logger",
        "logging.getLogger",
        "multiprocessing.context.*Context",
        "numbers.*",
    ),
    *("optparse.Values", "os.PathLike", "os.stat_result", "os.terminal_size", "platform.uname_result"),
    *("pathlib.Path", "pathlib.*Path", "random.Random", "re.RegexFlag", "re.Pattern", "re.compile"),
    *(
        "re._compile",
        "signal.Signals",
        "string.Template",
        "sys.intern",
        "time.struct_time",
        "types.EllipsisType",
    ),
    *("types.GenericAlias", "types.MappingProxyType", "types.NoneType", "types.SimpleNamespace"),
    *("types.UnionType", "typing.*", "urllib.parse.*Result*", "uuid.SafeUUID", "uuid.UUID"),
    *("xml.etree.ElementTree.Element", "zoneinfo.ZoneInfo", "zoneinfo.ZoneInfo._unpickle"),
)
# Modules that compute from what they are given. All others reach files, processes, the network, the
# interpreter or code.
_COMPUTING = (
    "__future__ abc argparse ast base64 binascii bisect builtins calendar cmath codecs collections "
    "colorsys configparser contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib "
    "dis email enum errno fnmatch fractions functools getopt graphlib hashlib heapq hmac html inspect "
    "ipaddress itertools json keyword locale logging math numbers opcode operator optparse plistlib "
    "pprint queue random re reprlib secrets shlex stat statistics string stringprep struct textwrap time "
    "token tokenize tomllib traceback types typing unicodedata unittest uuid warnings weakref zlib "
    "zoneinfo"
)
# What does more, in those modules and in packages that come with torch.
_HARMFUL = frozenset(
    (
        *(
            f"builtins.{name}"
            for name in (
                *(
                    "__import__",
                    "apply",
                    "breakpoint",
                    "compile",
                    "delattr",
                    "eval",
                    "exec",
                    "execfile",
                    "exit",
                ),
                *("file", "globals", "help", "input", "locals", "open", "quit", "reload", "setattr", "vars"),
            )
        ),
        *(
            "argparse.FileType",
            "codecs.open",
            "codecs.register",
            "copyreg.add_extension",
            "copyreg.pickle",
            "dataclasses.make_dataclass",
        ),
        *("inspect.get_annotations", "logging.FileHandler", "logging.basicConfig", "logging.config"),
        *("logging.handlers", "tokenize.open", "types.CodeType", "types.FunctionType", "types.LambdaType"),
        *("typing.ForwardRef", "typing._eval_type", "typing.get_type_hints", "unittest.TestProgram"),
        *(
            "unittest.main",
            "unittest.loader",
            "unittest.runner",
            "uuid.getnode",
            "uuid.uuid1",
            "weakref.finalize",
        ),
        *("antigravity", "cffi", "cloudpickle", "dill", "fsspec", "joblib", "pip", "requests", "setuptools"),
        *("IPython", "pandas.eval", "pandas.read_pickle", "yaml.full_load", "yaml.load", "yaml.unsafe_load"),
        *("numpy.DataSource", "numpy.ctypeslib", "numpy.distutils", "numpy.f2py", "numpy.fromfile"),
        *("numpy.fromregex", "numpy.genfromtxt", "numpy.lib._datasource", "numpy.lib._npyio_impl"),
        *("numpy.lib.npyio", "numpy.load", "numpy.loadtxt", "numpy.memmap", "numpy.save", "numpy.savetxt"),
        *("numpy.savez", "numpy.savez_compressed", "numpy.testing", "torch._inductor"),
        *("torch.distributed.elastic", "torch.distributed.rpc", "torch.distributed.run"),
        *("torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression",),
        *(
            "torch._dynamo.debug_utils",
            "torch._dynamo.guards",
            "torch.hub",
            "torch.jit",
            "torch.load",
            "torch.package",
            "torch.save",
        ),
        *(
            "torch.multiprocessing.spawn",
            "torch.serialization",
            "torch.testing",
            "torch.utils._config_module",
        ),
        *("torch.utils.bottleneck", "torch.utils.collect_env", "torch.utils.cpp_extension"),
        *(
            "torch.utils.data.datapipes",
            "torch.utils.model_zoo",
            "ultralytics.utils.downloads",
            "ultralytics.utils.patches",
        ),
    )
)
# Of these only classes are data; these two call what they are given.
_CALLING = ("builtins.map", "builtins.filter")
# From any object to the interpreter: no class is called so, and no honest pickle needs the way.
_WAYS_OUT = (
    "__base__ __bases__ __builtins__ __closure__ __code__ __dict__ __getattribute__ __globals__ "
    "__import__ __loader__ __mro__ __spec__ __subclasses__"
)
_ALIASES = {
    "posix": "os",
    "nt": "os",
    "posixpath": "os.path",
    "ntpath": "os.path",
    "genericpath": "os.path",
    "_frozen_importlib": "importlib",
    "_frozen_importlib_external": "importlib",
    "_pyio": "io",
    "pathlib._local": "pathlib",
    "_posixsubprocess": "subprocess",
    "_collections_abc": "collections.abc",
    "_sre": "re",
    "sre_compile": "re",
    "_pydecimal": "decimal",
    "_pydatetime": "datetime",
}
# Functions that other packages import by these names from the standard library, and no others are called so.
_UNMISTAKABLE = (
    "Popen check_call check_output getoutput getstatusoutput import_module mkdtemp mkstemp rmtree run_module "
    "run_path urlopen urlretrieve"
)
# No longer in the standard library, or only in Python 2.
_FORMER = (
    "aifc asynchat asyncore audioop cgi cgitb chunk commands crypt distutils imghdr imp lib2to3 mailcap "
    "msilib new nis nntplib os2 ossaudiodev pipes popen2 sets sndhdr smtpd spwd sunau telnetlib urllib2 "
    "user uu xdrlib"
)
# Modules that other modules import, and so hold: ``torch.os.system``.
_IMPORTED = {
    module.__name__: module
    for module in (
        *(builtins, ctypes, functools, glob, importlib, io, logging, marshal, multiprocessing, operator, os),
        *(pathlib, pickle, platform, runpy, shutil, signal, socket, subprocess, sys, tarfile, tempfile),
        *(threading, types, zipfile),
    )
}
# Names have fewer parts; to judge longer ones takes long.
_MAX_PARTS = 12
_OTHERWISE = {"posix": "os", "nt": "os", "bltns": "builtins"}
# A module as an object leads to all that it has.
_DOORS = "builtins ctypes importlib marshal multiprocessing os pickle runpy shutil socket subprocess sys"


@cache
def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def canonical(path: str) -> str:
    """A global under its usual name.

    ``posix.system``, ``nt.system`` and ``torch.os.system`` are ``os.system``; ``commands.Popen``, which
    Python 3 writes for Python 2, is ``subprocess.Popen``.
    """
    path = _within(path)
    module, _, name = path.partition(".")
    old = "__builtin__" if module == "builtins" else module
    if (known := NAME_MAPPING.get((old, name))) is not None:
        return ".".join(known)
    if module in IMPORT_MAPPING and module not in sys.stdlib_module_names:
        return canonical(f"{IMPORT_MAPPING[module]}.{name}")
    for alias, real in _ALIASES.items():
        if path.startswith(f"{alias}."):
            return f"{real}{path.removeprefix(alias)}"
    bare = module.removeprefix("_")
    return f"{bare}.{name}" if bare != module and bare in sys.stdlib_module_names else path


def _within(path: str) -> str:
    """The part of a path that names another module held by a module, or a member of it."""
    parts = path.split(".")
    for index in range(1, len(parts)):
        name = parts[index].removeprefix("_")
        name = _OTHERWISE.get(name, name)
        if index + 1 == len(parts) and name in _words(_DOORS):
            return name
        module = _IMPORTED.get(name)
        if module is not None and index + 1 < len(parts) and hasattr(module, parts[index + 1]):
            return ".".join((name, *parts[index + 1 :]))
    return path


@lru_cache(maxsize=1 << 15)
def power_of(path: str) -> Power:
    """What calling a global of this name could do.

    Returns:
        ``harm``: reach files, processes, the network, the interpreter or code. ``compute``: make a value from
        what it is given. ``none``: hold data; also returned for names outside the standard library, about
            which nothing is known.
    """
    path = canonical(path)
    if path in _words(_DOORS) or path.count(".") > _MAX_PARTS:
        return "harm"
    named = path.partition(".")[0] in sys.stdlib_module_names
    if path.rpartition(".")[2] in _words(_UNMISTAKABLE) or (named and any(map(_reaches, _tails(path)))):
        return "harm"
    return _power(path)


@lru_cache(maxsize=1 << 15)
def _power(path: str) -> Power:
    """The power of a global, by the module that its name begins with."""
    module = path.partition(".")[0]
    ways_out = any(part in _words(_WAYS_OUT) for part in path.split("."))
    method = path.startswith("pathlib.") and path.count(".") > 1  # what a path does, not the path
    if ways_out or method or _is_under(path, _HARMFUL):
        return "harm"
    if _is_data(path):
        return "none"
    if module in _words(_COMPUTING) or path.startswith("os.path."):
        return "compute"
    return "harm" if module in sys.stdlib_module_names or module in _words(_FORMER) else "none"


def _tails(path: str) -> list[str]:
    """Possible meanings of a name in other modules that its first module has imported."""
    parts = path.split(".")
    tails = [".".join(parts[index:]) for index in range(1, len(parts))]
    return [*tails, *(tail.removeprefix("_") for tail in tails)]


def _reaches(path: str) -> bool:
    return path.partition(".")[0] in sys.stdlib_module_names and "." in path and _power(path) == "harm"


def _is_data(path: str) -> bool:
    module, _, name = path.partition(".")
    if module == "builtins":
        return path not in _CALLING and isinstance(vars(builtins).get(name), type)
    depth = path.count(".")
    patterns = [one for one in _DATA if one.count(".") == depth and not name.startswith("_")]
    known = path in _DATA or any(fnmatchcase(path, one) for one in patterns)
    return known and path != "collections.namedtuple"


def _is_under(path: str, names: frozenset[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts) + 1))
