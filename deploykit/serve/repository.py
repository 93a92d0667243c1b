"""The models of a server by name: loading, unloading, and reloading of changed files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploykit_runtimes.engine_folder import model_file
from deploykit_runtimes.errors import DeploykitError

from deploykit.serve.errors import NotFoundError, NotReadyError
from deploykit.serve.model import ServedModel, open_model
from deploykit.serve.options import ServeOptions
from deploykit.serve.statistics import Timing

__all__ = ["ModelState", "Repository"]

log = logging.getLogger("deploykit.serve.repository")

_QUIET_S = 0.5
"""How long a replaced model must have been unused before it is freed."""

State = Literal["LOADING", "READY", "UNAVAILABLE"]


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One line of the index."""

    name: str
    version: str
    state: State
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "state": self.state, "reason": self.reason}


@dataclass
class _Slot:
    """A name and what is behind it."""

    name: str
    path: Path
    model: ServedModel | None = None
    versions: int = 0
    state: State = "LOADING"
    reason: str = ""
    seen: tuple[int, int, int] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Repository:
    """The models of a server. All methods belong to one event loop.

    Only the files that it was made with are ever opened: clients choose among their names.

    Args:
        models: Paths of model files, or of folders that ``deploykit build`` wrote, by name.
        options: How they are served.
        on_event: Told of models that come and go, in a sentence.

    Attributes:
        observe: Told of the time of every answered request of a model, in the event loop.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        options: ServeOptions,
        *,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        self._slots = {name: _Slot(name, Path(path)) for name, path in models.items()}
        self._options = options
        self._tell = on_event or (lambda _: None)
        self.observe: Callable[[str, Timing], None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether every model that was not unloaded is loaded and warm."""
        states = [slot.state for slot in self._slots.values()]
        return "LOADING" not in states and "READY" in states

    @property
    def models(self) -> list[ServedModel]:
        """Those that are loaded."""
        return [slot.model for slot in self._slots.values() if slot.model is not None]

    def get(self, name: str, version: str = "") -> ServedModel:
        """The model that answers under a name.

        Args:
            name: As in the index.
            version: The one that is wanted; empty: the present one.

        Raises:
            NotFoundError: there is no such name or version.
            NotReadyError: it is being loaded, or was unloaded.
        """
        slot = self._slot(name)
        model = slot.model
        if model is None:
            raise NotReadyError(f"The model {name!r} is not ready: {slot.reason or slot.state.lower()}.")
        if version not in ("", model.version):
            raise NotFoundError(
                f"The model {name!r} has the version {model.version}, found {version[:64]!r}."
            )
        return model

    def index(self, *, ready: bool = False) -> list[ModelState]:
        """Every name with its state; only those that are ready if wanted so."""
        states = [
            ModelState(name=slot.name, version=str(slot.versions or 1), state=slot.state, reason=slot.reason)
            for slot in self._slots.values()
        ]
        return [state for state in states if not ready or state.state == "READY"]

    async def start(self) -> None:
        """Load every model, one after the other, and begin to look for changed files.

        Raises:
            DeploykitError: one of them cannot be loaded.
        """
        for slot in self._slots.values():
            await self._load(slot)
        if self._options.poll_s:
            self._watching = asyncio.create_task(self._watch())

    async def load(self, name: str) -> None:
        """Load a model, or load it anew; requests are answered by the old one meanwhile.

        Raises:
            NotFoundError: there is no such name.
            DeploykitError: it cannot be loaded; the old one stays.
        """
        await self._load(self._slot(name))

    async def unload(self, name: str) -> None:
        """Take a model away, after what it was asked so far is answered.

        Raises:
            NotFoundError: there is no such name.
        """
        slot = self._slot(name)
        async with slot.lock:
            model, slot.model = slot.model, None
            slot.state, slot.reason = "UNAVAILABLE", "unloaded"
            if model is not None:
                self._tell(f"unloaded {name} version {model.version}")
                await model.close(quiet_s=_QUIET_S)

    async def close(self) -> None:
        """Answer what was taken on, and free every model."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for slot in self._slots.values():
            async with slot.lock:
                model, slot.model = slot.model, None
                slot.state, slot.reason = "UNAVAILABLE", "the server stops"
                if model is not None:
                    await model.close()
        await asyncio.gather(*self._retiring)

    def _observed(self, name: str, timing: Timing) -> None:
        if self.observe is not None:
            self.observe(name, timing)

    def _slot(self, name: str) -> _Slot:
        slot = self._slots.get(name)
        if slot is None:
            names = ", ".join(sorted(self._slots)) or "none"
            raise NotFoundError(f"There is no model {name[:64]!r}.", hint=f"The models are: {names}")
        return slot

    async def _load(self, slot: _Slot) -> None:
        async with slot.lock:
            slot.seen = _stamp(slot.path)
            version = str(slot.versions + 1)
            if slot.model is None:
                slot.state, slot.reason = "LOADING", "loading"
            try:
                model = await asyncio.to_thread(open_model, slot.name, version, slot.path, self._options)
            except DeploykitError as error:
                slot.reason = str(error)
                if slot.model is None:
                    slot.state = "UNAVAILABLE"
                raise
            model.observe = self._observed
            old, slot.model = slot.model, model
            slot.versions += 1
            slot.state, slot.reason = "READY", ""
        self._tell(f"loaded {slot.name} version {version} from {slot.path}: {model.placement()}")
        for text in model.spec.assumed if model.spec.inferred else ():
            self._tell(f"assumed of {slot.name}: {text}")
        if old is not None:
            self._retire(old)

    def _retire(self, model: ServedModel) -> None:
        task = asyncio.create_task(model.close(quiet_s=_QUIET_S))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _watch(self) -> None:
        """Load files anew that changed and then rested for one look."""
        changed: dict[str, tuple[int, int, int] | None] = {}
        while True:
            await asyncio.sleep(self._options.poll_s)
            for slot in self._slots.values():
                stamp = await asyncio.to_thread(_stamp, slot.path)
                if slot.model is None or stamp is None or stamp == slot.seen:
                    changed.pop(slot.name, None)
                elif changed.get(slot.name) == stamp:
                    del changed[slot.name]
                    await self._reload(slot)
                else:
                    changed[slot.name] = stamp

    async def _reload(self, slot: _Slot) -> None:
        try:
            await self._load(slot)
        except DeploykitError as error:
            stays = slot.model.version if slot.model else "none"
            log.warning("the new file of %s cannot be loaded, version %s stays: %s", slot.name, stays, error)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew; None: it is not there, or not yet a model."""
    try:
        status = model_file(path).stat()
    except (OSError, DeploykitError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
