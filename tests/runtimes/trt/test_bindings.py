"""The adapter and its fake against what the bindings of TensorRT 10, 11 and RTX really have."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deploykit_runtimes.trt
import pytest
from deploykit_runtimes.errors import DependencyError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.trt import bindings as subject
from deploykit_runtimes.trt.bindings import describe, load_bindings
from fake_recorded import VERSIONS, Recorded, recorded

SOURCES = sorted(Path(deploykit_runtimes.trt.__path__[0]).rglob("*.py"))
ONLY_RTX = {"ComputeCapability", "CudaGraphStrategy", "EngineInvalidityDiagnostics"}


def uses(source: Path) -> set[str]:
    """What a file takes from the module: ``trt.X`` and ``trt.X.Y``, without what every class has."""
    found = set()
    for found_node in ast.walk(ast.parse(source.read_text())):
        node, names = found_node, []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        is_module = isinstance(node, ast.Name) and node.id == "trt"
        if names and names[-1] == "trt" and not is_module:
            names.pop()
            is_module = True
        if names and is_module:
            found.add(".".join(name for name in names[:-3:-1] if not name.startswith("__")))
    return found - {""}


def test_every_name_the_adapter_uses_is_in_the_bindings() -> None:
    used = set().union(*map(uses, SOURCES)) - {"bindings"}
    assert {"Builder", "OnnxParser", "Runtime", "ProfilingVerbosity.DETAILED"} <= used
    for version in VERSIONS:
        api = recorded(version)
        known = {*api["classes"], *api["enums"]}
        for name, members in api["enums"].items():
            known |= {f"{name}.{member}" for member in members}
        missing = {name.partition(".")[0] for name in used - known}
        assert missing <= (set() if "rtx" in version else ONLY_RTX), version


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_what_the_bindings_have(version: str) -> None:
    api = recorded(version)["classes"]
    classes = [cls for cls in _fakes() if issubclass(cls, Recorded) and cls.__name__ in api]
    assert len(classes) > 12
    for cls in classes:
        for name, member in vars(cls).items():
            if name not in api[cls.__name__] or (name.startswith("_") and name != "__init__"):
                continue  # of another version: __getattribute__ hides it
            overloads = api[cls.__name__][name]
            assert isinstance(member, property) == (overloads == "property"), f"{cls.__name__}.{name}"
            if overloads != "property" and overloads:
                assert any(_accepts(overload, member) for overload in overloads), f"{cls.__name__}.{name}"


def _accepts(overload: list[str], method: Any) -> bool:
    """Whether a method has the parameters of an overload, by name and in order."""
    names = [name for name in inspect.signature(method).parameters if name not in ("self", "_api")]
    return names == [name.rstrip("?") for name in overload[: len(names)]] and all(
        name.endswith("?") for name in overload[len(names) :]
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_overrides_have_the_names_that_tensorrt_calls(version: str) -> None:
    text = "".join(source.read_text() for source in SOURCES)
    for name in recorded(version)["overrides"]:
        assert f"def {name}(" in text


def test_the_record_is_what_is_installed() -> None:
    installed = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has no wheel here")
    import make_api

    found, known = json.loads(json.dumps(make_api.record(installed))), recorded(VERSIONS[-1])
    assert found["overrides"] == known["overrides"]
    for name, members in known["classes"].items():
        used = {key for cls in _fakes() if cls.__name__ == name for key in vars(cls)} & members.keys()
        assert {key: found["classes"][name].get(key) for key in used} == {key: members[key] for key in used}


def _fakes() -> list[type]:
    import fake_builder
    import fake_engine

    found = {**vars(fake_builder), **vars(fake_engine)}
    return [cls for cls in found.values() if inspect.isclass(cls)]


def test_cuda_calls_have_the_signatures_of_cuda_python() -> None:
    real = importlib.import_module("cuda.bindings.runtime")
    from fake_cuda import FakeCuda

    names = [name for name in vars(FakeCuda) if name.startswith("cuda") and callable(getattr(FakeCuda, name))]
    assert len(names) > 12
    for name in names:
        wanted = list(inspect.signature(getattr(real, name)).parameters)
        assert list(inspect.signature(getattr(FakeCuda, name)).parameters)[1:] == wanted, name


def test_a_driverless_cuda_is_one_error() -> None:
    from deploykit_runtimes.trt.cuda import open_cuda

    with pytest.raises(RuntimeUnavailableError, match=r"cudaSetDevice: .*insufficient.*\(code 35\)"):
        open_cuda(0)


@pytest.mark.parametrize("version", VERSIONS)
def test_flags_and_targets_follow_the_version(version: str, machine_with: Any) -> None:
    found = describe(machine_with(version).trt)
    assert found.network_flags() == (3 if version == "tensorrt-10.16" else 1)
    assert found.is_rtx == found.flavour.endswith("rtx") == ("rtx" in version)
    if found.is_rtx:
        assert [int(target) for target in found.targets(("8.6", "12.0"))] == [86, 120]
        with pytest.raises(OptionError, match=r"7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1, found '9\.0'"):
            found.targets(("9.0",))
    else:
        assert found.targets(()) == ()
        with pytest.raises(OptionError, match="only trt-rtx takes"):
            found.targets(("8.6",))


def test_the_same_module_gives_the_same_logger(machine_with: Any) -> None:
    trt = machine_with().trt
    assert describe(trt) is describe(trt)


def test_old_versions_are_named(machine_with: Any) -> None:
    trt = machine_with().trt
    trt.__version__ = "8.6.1"
    with pytest.raises(
        RuntimeUnavailableError, match=r"TensorRT 10 or newer is needed, found 8\.6\.1"
    ) as error:
        describe(trt)
    assert "deploykit[tensorrt]" in error.value.hint


@pytest.mark.parametrize(("runtime", "extra"), [("trt", "tensorrt"), ("trt-rtx", "tensorrt-rtx")])
def test_missing_packages_name_the_pip_line(
    runtime: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(subject, "find_spec", lambda name: None)
    monkeypatch.setattr("deploykit_runtimes.optional.import_module", nothing)
    with pytest.raises(DependencyError, match="is needed to build engines") as error:
        load_bindings(runtime, purpose="build engines")
    assert f"deploykit[{extra}]" in error.value.hint


def test_messages_keep_what_explains_and_drop_noise(caplog: pytest.LogCaptureFixture) -> None:
    from deploykit_runtimes.trt.messages import Messages, make_logger

    class Base:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    messages = Messages()
    logger = make_logger(SimpleNamespace(ILogger=Base), messages)
    assert messages.last_error() == "it gave no reason"
    logger.log(1, "[checkMacros.cpp::catchCudaError::229] Error Code 1: Cuda Runtime (cudaError 35)")
    logger.log(4, "a thousand of these")
    logger.log(2, "only a warning")
    logger.log(1, "[graph.cpp::build::12] Error Code 4:\n  no kernel")
    logger.log(1, "what follows from it")
    assert messages.last_error() == "Error Code 4: no kernel"
    messages.clear()
    assert messages.last_error() == "it gave no reason"
