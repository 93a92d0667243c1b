"""Weights by name: ``timm:vit_base_patch16_224[.tag]`` and ``ultralytics:yolo11n.pt``.

The libraries' own names, servers and caches are used. What arrives is read like any other file, so
nothing of it is executed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from deploykit_runtimes.errors import CheckpointError, DownloadError, OptionError
from deploykit_runtimes.optional import require
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.shared.imagenet import imagenet_class_names

__all__ = ["LIBRARIES", "NamedModel", "fetch", "is_model_name", "resolve"]

Library = Literal["timm", "ultralytics"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
_CONNECT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model that a library can download: ``timm`` and ``vit_base_patch16_224.augreg_in21k``."""

    library: Library
    name: str

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def is_model_name(source: str) -> bool:
    """Whether the text names a library's model rather than a path. A file of that name wins."""
    library, colon, name = source.partition(":")
    return bool(colon and name) and library in LIBRARIES and not Path(source).exists()


def resolve(name_or_path: str) -> Path | NamedModel:
    """The model that a text names, or else the path that it is."""
    if not is_model_name(name_or_path):
        return Path(name_or_path)
    library, _, name = name_or_path.partition(":")
    return NamedModel(library=cast(Library, library), name=name.strip())


def fetch(name: str | NamedModel) -> Checkpoint:
    """Download a named model into its library's cache, or find it there, and read it.

    The checkpoint of a timm model has timm's own key names, ``meta["arch"]`` and
    ``meta["timm_config"]``: timm's pretrained_cfg (architecture, input_size, mean, std, interpolation,
    crop_pct, crop_mode, num_classes, ...) and, where timm knows them, ``label_names``.

    Raises:
        OptionError: the library has no such model; names the nearest ones.
        DependencyError: the library is not installed.
        DownloadError: the file cannot be fetched.
        CheckpointError: what was fetched is not a checkpoint.
    """
    model = resolve(name) if isinstance(name, str) else name
    if isinstance(model, Path):
        raise OptionError(
            f"{name!r} is not the name of a downloadable model.",
            hint="Write timm:NAME or ultralytics:NAME.pt, or give the path of a file.",
        )
    return _fetch_timm(model) if model.library == "timm" else _fetch_ultralytics(model)


def _fetch_timm(model: NamedModel) -> Checkpoint:
    timm = require("timm", extra="export", purpose=f"download {model}")
    architecture, _, tag = model.name.partition(".")
    tagged = timm.list_pretrained(f"{architecture}.*") if timm.is_model(architecture) else []
    if not tagged or (tag and model.name not in tagged):
        known = tagged or {name.partition(".")[0] for name in timm.list_pretrained()}
        raise _unknown(model if tagged else replace(model, name=architecture), known)
    config = timm.get_pretrained_cfg(model.name, allow_unregistered=False)
    settings = {key: value for key, value in config.to_dict().items() if value is not None}
    downloaded = read_checkpoint(_download(model, settings))
    labels = _imagenet_labels(settings)
    told = {"architecture": architecture} | ({"label_names": labels} if labels else {})
    return replace(
        downloaded,
        tensors=_in_timm_names(model, downloaded),
        meta={"arch": architecture, "timm_config": settings | told},
        notes=(f"Fetched {model}.", *downloaded.notes),
    )


def _in_timm_names(model: NamedModel, downloaded: Checkpoint) -> dict[str, Any]:
    """timm publishes some weights under their authors' key names, and renames them on loading."""
    import timm

    try:
        network = timm.create_model(
            model.name, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(downloaded.tensors)}
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{model} was fetched, but does not fit its architecture: {one_line(error)}"
        ) from error
    return dict(network.state_dict())


def _imagenet_labels(settings: dict[str, Any]) -> tuple[str, ...]:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(settings)
    if subset == "imagenet-1k":
        return imagenet_class_names()
    labels = tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()
    return labels if len(labels) == settings["num_classes"] else ()


def _fetch_ultralytics(model: NamedModel) -> Checkpoint:
    require("ultralytics", extra="yolo", purpose=f"download {model}")
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    known = {name for name in GITHUB_ASSETS_NAMES if name.endswith(".pt")}
    if not model.name.endswith(".pt"):
        model = replace(model, name=f"{model.name}.pt")
    if model.name not in known:
        raise _unknown(model, known)
    downloaded = read_checkpoint(_download(model, {}))
    return replace(downloaded, notes=(f"Fetched {model}.", *downloaded.notes))


def _unknown(model: NamedModel, known: Iterable[str]) -> OptionError:
    # Compared without the ending that they all share, which would make every name look near.
    endings = {name.removesuffix(".pt"): name for name in known}
    near = [
        endings[stem] for stem in get_close_matches(model.name.removesuffix(".pt"), endings, n=4, cutoff=0.5)
    ]
    return OptionError(
        f"{model.library} has no pretrained model {model.name!r}.",
        hint=f"Did you mean {' or '.join(near)}?" if near else f"See the list of models of {model.library}.",
    )


def _download(model: NamedModel, settings: dict[str, Any]) -> Path:
    """The weights file in the library's cache; fetched if it is not there."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        if model.library == "ultralytics":
            return _ultralytics_asset(model.name)
        if settings.get("hf_hub_id"):
            return _hub_file(settings["hf_hub_id"], settings.get("hf_hub_filename"))
        return _torch_hub_file(settings.get("url", ""))
    except (OSError, EntryNotFoundError, HfHubHTTPError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].lstrip("❌ ")
        raise DownloadError(
            f"{model} could not be fetched: {reason}",
            hint="Check the connection; or fetch the file on another machine and give its path.",
        ) from error


def _hub_file(repository: str, filename: str | None) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    names = (filename,) if filename else ("model.safetensors", "pytorch_model.bin")
    for name in names:
        if isinstance(cached := try_to_load_from_cache(repository, name), str):
            return Path(cached)
    if not constants.HF_HUB_OFFLINE:
        _reach(constants.ENDPOINT)
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, etag_timeout=_CONNECT_SECONDS))
        except RemoteEntryNotFoundError:
            continue
    raise LocalEntryNotFoundError(f"{repository} holds none of {', '.join(names)}")


def _reach(server: str) -> None:
    """Fail at once where the server cannot be reached; the hub's client would retry for half a minute.

    Raises:
        OSError: no connection.
    """
    try:
        urlopen(Request(server, method="HEAD"), timeout=_CONNECT_SECONDS).close()  # noqa: S310 (https)
    except HTTPError as answer:
        answer.close()
    except URLError as error:
        # A certificate that only the hub's client knows is not a reason to give up.
        if not isinstance(error.reason, ssl.SSLError):
            raise


def _torch_hub_file(url: str) -> Path:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    return path


def _ultralytics_asset(name: str) -> Path:
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.downloads import attempt_download_asset

    wanted = Path(SETTINGS["weights_dir"]) / name
    with _no_empty_folder(wanted.parent):
        path = Path(attempt_download_asset(wanted, retry=0))
        if not path.is_file():
            raise FileNotFoundError(f"{name} is in no release that could be reached")
    return path


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Ultralytics creates its weights folder, by default in the current one, before it looks for a file."""
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
