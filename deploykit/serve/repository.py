"""The models of a server by name: loading, unloading, and reloading of changed files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from deploykit_runtimes.errors import DeploykitError, ModelError
from deploykit_runtimes.runtimes import canonical_runtime
from deploykit_runtimes.suitability import advice
from deploykit_runtimes.text.printable import printable

from deploykit.protocol.errors import NotFoundError, NotReadyError
from deploykit.serve.aside import Aside
from deploykit.serve.model import ServedModel
from deploykit.serve.opening import Opened, as_ours, differences, in_words, open_safely
from deploykit.serve.options import ServeOptions
from deploykit.serve.statistics import Timing
from deploykit.serve.watched import Stamp, stamp_of

__all__ = ["ModelState", "Repository"]

log = logging.getLogger("deploykit.serve.repository")

_QUIET_S = 0.5
"""How long a replaced model must have been unused before it is freed."""

_GRACE_S = 5.0
"""How long the end of the server waits for files that are being loaded."""

_LONGEST_REASON = 300

State = Literal["LOADING", "READY", "UNAVAILABLE"]


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One entry of the index.

    Attributes:
        name, version, state, reason: As the protocol defines them.
        failure: Why the newest file of this name is not in use, in one printable line; empty if it is.
        failures: How often a file of this name failed to load.
    """

    name: str
    version: str
    state: State
    reason: str = ""
    failure: str = ""
    failures: int = 0

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "state": self.state, "reason": self.reason}


@dataclass
class _Slot:
    """A name, and the model behind it."""

    name: str
    path: Path
    model: ServedModel | None = None
    versions: int = 0
    state: State = "LOADING"
    reason: str = ""
    failure: str = ""
    failures: int = 0
    wanted: bool = True
    seen: Stamp | None = None
    beside: tuple[Path, ...] = ()
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_watched(self) -> bool:
        """Whether changed files are loaded: the first load is left to the caller that started the server."""
        return self.wanted and self.seen is not None

    def state_now(self) -> ModelState:
        return ModelState(
            name=self.name,
            version=str(self.versions or 1),
            state=self.state,
            reason=self.reason or self.failure,
            failure=self.failure,
            failures=self.failures,
        )


class Repository:
    """The models of a server. All methods belong to one event loop.

    Only the files given at the start are ever opened; clients choose among their names.

    Args:
        models: Paths of model files, or of folders that ``deploykit build`` wrote, by name.
        options: How the models are served.
        on_event: Called with a sentence when a model is loaded or removed.

    Attributes:
        observe: Called in the event loop with the time of every answered request of a model.
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
        self._runtime = canonical_runtime(options.runtime)
        self._aside = Aside()
        self._watching: list[asyncio.Task[None]] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether every model that was not unloaded is loaded and warm."""
        states = [slot.state for slot in self._slots.values()]
        return "LOADING" not in states and "READY" in states

    @property
    def models(self) -> list[ServedModel]:
        """The loaded models."""
        return [slot.model for slot in self._slots.values() if slot.model is not None]

    def get(self, name: str, version: str = "") -> ServedModel:
        """The model that answers under a name.

        Args:
            name: The name in the index.
            version: The requested version; empty: the current one.

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

    def state(self, name: str) -> ModelState:
        """The index entry of one name.

        Raises:
            NotFoundError: there is no such name.
        """
        return self._slot(name).state_now()

    def index(self, *, ready: bool = False) -> list[ModelState]:
        """The index entry of every name, or only of those that are ready."""
        states = [slot.state_now() for slot in self._slots.values()]
        return [state for state in states if not ready or state.state == "READY"]

    async def start(self) -> None:
        """Load every model, one after the other, and start watching for changed files.

        Raises:
            DeploykitError: one of them cannot be loaded.
        """
        for slot in self._slots.values():
            await self._load(slot)
        if self._options.poll_s:
            # One for each model: none has to wait for the file of another, which may take minutes or forever.
            self._watching = [asyncio.create_task(self._watch(slot)) for slot in self._slots.values()]

    async def load(self, name: str) -> None:
        """Load or reload a model; the old one answers requests meanwhile.

        Raises:
            NotFoundError: there is no such name.
            ModelError: it cannot be loaded; the old one stays in use.
        """
        slot = self._slot(name)
        try:
            await self._load(slot)
        except ModelError:
            raise
        except DeploykitError as error:  # of the server's options or machine, not of the request
            raise ModelError(error.problem, hint=error.hint) from error

    async def unload(self, name: str) -> None:
        """Unload a model once its accepted requests are answered.

        Raises:
            NotFoundError: there is no such name.
        """
        slot = self._slot(name)
        async with slot.lock:
            model, slot.model = slot.model, None
            slot.wanted = False
            slot.state, slot.reason, slot.failure = "UNAVAILABLE", "unloaded", ""
            if model is not None:
                self._tell(f"unloaded {name} version {model.version}")
                await model.close(quiet_s=_QUIET_S)

    async def close(self) -> None:
        """Answer accepted requests, and free every model."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for slot in self._slots.values():
            async with slot.lock:
                model, slot.model = slot.model, None
                slot.state, slot.reason = "UNAVAILABLE", "the server stops"
                if model is not None:
                    await model.close()
        await self._aside.settle(_GRACE_S)
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

    async def _load(self, slot: _Slot, *, if_watched: bool = False) -> None:
        """Open the file that is now behind a path, and replace the model that has answered so far.

        Args:
            slot: The slot of the model.
            if_watched: Skip it if it was unloaded while this call waited for its turn.

        Raises:
            DeploykitError: it cannot be opened, for whatever reason; the previous model stays in use.
        """
        async with slot.lock:
            if if_watched and not slot.is_watched:
                return
            slot.wanted = True
            version = str(slot.versions + 1)
            if slot.model is None:
                slot.state, slot.reason = "LOADING", "loading"
            work = partial(open_safely, slot.name, version, slot.path, self._options, self._runtime)
            opened = await self._aside.run(work, unwanted=self._discard)
            slot.seen, slot.beside = opened.stamp, opened.beside
            model = opened.model
            if model is None:
                self._failed(slot, opened)
                try:
                    raise as_ours(opened.error, slot.path)
                finally:
                    del opened  # holds the error, whose trace would hold this frame, and that the server
            model.observe = self._observed
            old, slot.model = slot.model, model
            slot.versions += 1
            slot.state, slot.reason, slot.failure = "READY", "", ""
        tested = f"; {model.tested}" if model.tested else ""
        self._tell(f"loaded {slot.name} version {version} from {slot.path}: {model.placed}{tested}")
        for text in model.spec.assumed if model.spec.inferred else ():
            self._tell(f"assumed of {slot.name}: {text}")
        if said := advice(model.spec, model.placement()):
            log.warning("%s: %s", slot.name, said)
        if old is not None:
            for text in differences(old, model):
                log.warning("%s version %s has other %s", slot.name, version, text)
            self._retire(old)

    def _failed(self, slot: _Slot, opened: Opened) -> None:
        """Note and log that a file cannot be loaded."""
        slot.failures += 1
        words = printable(" ".join(in_words(opened.error).split()), _LONGEST_REASON)
        if slot.model is None:
            slot.state, slot.reason = "UNAVAILABLE", words
            return
        stays = f"version {slot.model.version} stays"
        slot.failure = f"a newer file cannot be loaded, {stays}: {words}"
        trace = None if isinstance(opened.error, DeploykitError | MemoryError) else opened.error
        text = "the new file of %s (%s, %s) cannot be loaded, %s: %s"
        log.warning(text, slot.name, slot.path, opened.stamp.found, stays, words, exc_info=trace)

    def _discard(self, opened: Opened) -> None:
        """Free a model that was opened after its caller had given up."""
        if opened.model is not None:
            self._retire(opened.model)

    def _retire(self, model: ServedModel) -> None:
        task = asyncio.create_task(_closed(model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _watch(self, slot: _Slot) -> None:
        """Reload a model whose files changed and then stayed unchanged for one look."""
        changed: Stamp | None = None
        while True:
            await asyncio.sleep(self._options.poll_s)
            try:
                changed = await self._look(slot, changed)
            except Exception:
                log.exception("%s cannot be watched at the moment", slot.name)

    async def _look(self, slot: _Slot, changed: Stamp | None) -> Stamp | None:
        """Look once; returns a new stamp that has not yet stayed unchanged, if there is one."""
        if not slot.is_watched:
            return None
        stamp = await self._aside.run(partial(stamp_of, slot.path, self._runtime, slot.beside))
        if not slot.is_watched or not _is_news(stamp, slot):
            return None
        if stamp != changed:
            return stamp
        try:
            await self._load(slot, if_watched=True)
        except DeploykitError as error:
            if slot.model is None:
                log.warning("%s cannot be loaded: %s", slot.name, error)
        return None


def _is_news(stamp: Stamp, slot: _Slot) -> bool:
    """Whether the files are worth loading: a file that failed is not retried unchanged."""
    assert slot.seen is not None
    if slot.model is None or slot.failure:
        return stamp != slot.seen
    return stamp.content != slot.seen.content


async def _closed(model: ServedModel) -> None:
    try:
        await model.close(quiet_s=_QUIET_S)
    except Exception:
        log.exception("%s version %s cannot be freed", model.name, model.version)
