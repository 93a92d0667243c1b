"""The deploykit that a package brings along, so that it builds without a package index that has deploykit.

This is the given wheel; for a checkout, its sources, which pip builds where the package is installed; for
an installed deploykit, its wheel, repacked from the installed files.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import DependencyError, OptionError
from deploykit_runtimes.files import copy_file, room_for

__all__ = ["Installation", "bring", "check_wheel"]

_WHEEL = r"deploykit-[\w.+!-]+\.whl"
_LEFT_OUT = ("*.pyc", "__pycache__", ".*")
_OF_THE_INSTALLER = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What pip installs in the place where a package is used.

    Attributes:
        folder: Where it is in the package: ``wheels`` or ``source``.
        place: What to install: a file in it, or the folder itself.
        said: Its origin, in a sentence.
    """

    folder: str
    place: str
    said: str

    def at(self, root: str, extras: str) -> str:
        """The requirement for a package whose folder is copied below ``root``, an absolute path."""
        return f"deploykit[{extras}] @ file://{quote(f'{root}/{self.place}')}"

    def beside(self, extras: str) -> str:
        """The requirement for a requirements.txt in the package, when pip runs in that folder."""
        return f"./{self.place}[{extras}]"


def check_wheel(wheel: str | Path | None) -> None:
    """Refuse a file that is not a wheel of deploykit.

    Raises:
        OptionError: its name is not that of one, or it does not exist.
    """
    if wheel and not re.fullmatch(_WHEEL, Path(wheel).name):
        raise OptionError(f"--wheel wants a wheel of deploykit, found {wheel}.")
    if wheel and not Path(wheel).is_file():
        raise OptionError(f"--wheel {wheel} does not exist.")


def bring(package: Path, wheel: str | Path | None = None) -> Installation:
    """Put deploykit into a package.

    Args:
        package: The folder that is being written.
        wheel: What to install; None: the running deploykit.

    Raises:
        DependencyError: it is neither a checkout nor installed from a wheel.
    """
    if wheel:
        (package / "wheels").mkdir()
        name = Path(wheel).name
        copy_file(wheel, package / "wheels" / name)
        return Installation(folder="wheels", place=f"wheels/{name}", said=f"{name}, which was given")
    checkout = _checkout(Path(__file__).resolve().parents[2])
    if checkout is not None:
        _copy_sources(checkout, package / "source")
        return Installation(
            folder="source", place="source", said=f"deploykit {__version__}, from the sources in {checkout}"
        )
    (package / "wheels").mkdir()
    name = _repack(_installed(), package / "wheels")
    return Installation(
        folder="wheels", place=f"wheels/{name}", said=f"deploykit {__version__}, as it is installed here"
    )


def _checkout(folder: Path) -> Path | None:
    """The folder, if it holds deploykit's sources and the files needed to build them."""
    project = folder / "pyproject.toml"
    if not project.is_file():
        return None
    named = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name")
    return folder if named == "deploykit" else None


def _copy_sources(checkout: Path, target: Path) -> None:
    """Copy the files that a wheel is built from, as pyproject.toml lists them."""
    said = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        "pyproject.toml",
        said["project"]["readme"],
        *said["project"]["license-files"],
        *said["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"],
    ]
    for part in parts:
        source = checkout / part
        if source.is_dir():
            size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
            with room_for(size):
                shutil.copytree(source, target / part, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        else:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source, target / part)


def _installed() -> metadata.Distribution:
    try:
        found = metadata.distribution("deploykit")
    except metadata.PackageNotFoundError as error:
        raise _not_at_hand("deploykit runs from a folder that is neither a checkout nor installed") from error
    if found.read_text("WHEEL") is None or not found.files:
        raise _not_at_hand("the installed deploykit does not say which files it consists of")
    return found


def _not_at_hand(why: str) -> DependencyError:
    return DependencyError(
        f"The package has to contain a deploykit to install, but {why}.",
        hint="Give a wheel with --wheel FILE; `pip wheel --no-deps .` in a checkout builds one.",
    )


def _repack(found: metadata.Distribution, folder: Path) -> str:
    """Repack the wheel of an installed distribution; returns its name.

    Raises:
        DependencyError: some of its files are missing.
    """
    tag = re.search(r"^Tag: *(\S+)", found.read_text("WHEEL") or "", re.MULTILINE)
    name = f"deploykit-{found.version}-{tag[1] if tag else 'py3-none-any'}.whl"
    record = []
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for inside, path in _files(found):
            data = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{inside},sha256={digest},{len(data)}")
            wheel.writestr(zipfile.ZipInfo(inside), data, zipfile.ZIP_DEFLATED)
        place = f"deploykit-{found.version}.dist-info/RECORD"
        wheel.writestr(zipfile.ZipInfo(place), "\n".join([*record, f"{place},,"]) + "\n")
    return name


def _files(found: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """The files of the wheel, without those that the installer added and scripts outside the library
    folder.
    """
    for each in found.files or ():
        path = Path(str(found.locate_file(each)))
        added = each.parent.name.endswith(".dist-info") and each.name in _OF_THE_INSTALLER
        if added or ".." in each.parts or each.suffix == ".pyc":
            continue
        if not path.is_file():
            raise _not_at_hand(f"of the installed one {each} is missing")
        yield each.as_posix(), path
