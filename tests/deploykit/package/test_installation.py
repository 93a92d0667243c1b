"""The deploykit that packages bring along: pip can install it without an index that has it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from deploykit_runtimes import __version__
from deploykit_runtimes.errors import DependencyError, OptionError

from deploykit.package import installation, package
from deploykit.package.installation import bring

Classifier = Callable[..., Path]


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A library folder into which pip installed a deploykit of two files and a script."""
    source = tmp_path / "deploykit-9.0-py3-none-any.whl"
    info = "deploykit-9.0.dist-info"
    members = {
        "deploykit/__init__.py": "__version__ = '9.0'\n",
        "deploykit/data/größe.txt": "1\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: deploykit\nVersion: 9.0\nProvides-Extra: serve\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: any\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ndeploykit = deploykit:run\n",
    }
    with zipfile.ZipFile(source, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)
        lines = [f"{name},," for name in (*members, f"{info}/RECORD")]
        wheel.writestr(f"{info}/RECORD", "\n".join(lines) + "\n")
    pip("install", "--no-index", "--no-deps", "--target", tmp_path / "site", source)
    return tmp_path / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """deploykit runs from the library folder, and not from a checkout."""
    found = next(iter(metadata.distributions(name="deploykit", path=[str(site)])))
    monkeypatch.setattr(installation, "_checkout", lambda _: None)
    monkeypatch.setattr(metadata, "distribution", lambda _: found)
    return site


def test_an_installed_deploykit_is_packed_into_the_wheel_it_came_from(
    installed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    brought = bring(out)
    assert brought.place == "wheels/deploykit-9.0-py3-none-any.whl"
    assert "installed here" in brought.said
    again = tmp_path / "again"
    pip("install", "--no-index", "--no-deps", "--target", again, out / brought.place)
    added = ("direct_url.json", "REQUESTED", "INSTALLER", "RECORD")
    first, second = (
        {name: data for name, data in files_below(folder).items() if not name.endswith((*added, ".pyc"))}
        for folder in (installed, again)
    )
    assert first == second
    assert "deploykit/data/größe.txt" in first


def test_the_same_wheel_each_time(installed: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        wheel = tmp_path / name / bring(tmp_path / name).place
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_file_that_is_missing_is_told(installed: Path, tmp_path: Path, classifier: Classifier) -> None:
    (installed / "deploykit" / "__init__.py").unlink()
    with pytest.raises(DependencyError, match=r"__init__\.py is missing") as caught:
        package("docker", classifier(), tmp_path / "out")
    assert "--wheel FILE" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_neither_installed_nor_a_checkout(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation, "_checkout", lambda _: None)
    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(DependencyError, match="neither a checkout nor installed"):
        package("ray", classifier(), tmp_path / "out")


def test_a_checkout_brings_what_its_wheel_is_built_from(tmp_path: Path) -> None:
    brought = bring(tmp_path)
    source = tmp_path / brought.place
    assert __version__ in brought.said
    said = tomllib.loads((source / "pyproject.toml").read_text())
    for part in said["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        assert (source / part).exists()
    assert (source / said["tool"]["hatch"]["version"]["path"]).is_file()
    assert (source / said["project"]["readme"]).is_file()
    assert not [path for path in source.rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"]
    assert not (source / "tests").exists()


def test_the_sources_of_a_checkout_build(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    brought = bring(tmp_path)
    pip(
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        tmp_path / "built",
        tmp_path / brought.place,
    )
    wheel = next((tmp_path / "built").iterdir())
    with zipfile.ZipFile(wheel) as members:
        assert {"deploykit/__init__.py", "deploykit_runtimes/__init__.py"} <= set(members.namelist())


@pytest.mark.parametrize("kind", ["docker", "ray"])
def test_a_given_wheel_is_copied_in_and_named(kind: str, classifier: Classifier, tmp_path: Path) -> None:
    wheel = tmp_path / "deploykit-9.0+local-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    result = package(kind, classifier(), tmp_path / "out", wheel=wheel)
    assert (tmp_path / "out" / "wheels" / wheel.name).read_bytes() == b"wheel"
    assert f"{wheel.name}, which was given" in " ".join(result.notes)
    assert not (tmp_path / "out" / "source").exists()
    for wrong, words in (("x.whl", "a wheel of deploykit"), (tmp_path / f"no/{wheel.name}", "not exist")):
        with pytest.raises(OptionError, match=words):
            package(kind, classifier(), tmp_path / "no", wheel=wrong)


@pytest.mark.parametrize("kind", ["docker", "ray"])
def test_no_package_asks_an_index_for_deploykit(kind: str, classifier: Classifier, tmp_path: Path) -> None:
    result = package(kind, classifier(), tmp_path / "out")
    texts = [
        path.read_text()
        for path in (tmp_path / "out").iterdir()
        if path.name.startswith(("Dockerfile", "requirements"))
    ]
    assert texts
    for text in texts:
        assert f"=={__version__}" not in text
        assert "file:///source" in text or "./source[cpu]" in text
    assert "from the sources in" in " ".join(result.notes)
