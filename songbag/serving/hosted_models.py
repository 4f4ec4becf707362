"""The models at one address, and how a file that was replaced takes over without a lost request."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import Model, load_model
from songbag.inference.predictor import Predictor
from songbag.serving.options import ServerOptions
from songbag.serving.replies import HTTPError
from songbag.serving.workers import PredictionPool

_LOOK_SECONDS = 1.0  # between two looks at the files


@dataclass(frozen=True)
class Generation:
    """Models as they were read at one time, by name, and the processes that hold them."""

    models: dict[str, Model]
    pool: PredictionPool

    def name(self, asked: str | None) -> str:
        """Return the name of a model that a request asked for; without one, of the first."""
        if asked is None:
            return next(iter(self.models))
        if asked not in self.models:
            known = ", ".join(self.models)
            raise HTTPError(404, "no_model", f"There is no model '{asked}' here, but: {known}.")
        return asked


class HostedModels:
    """Reads model files, and again when they change.

    ``say`` takes messages for the person who started the server; ``on_change`` is called with
    every generation before it answers.
    """

    def __init__(
        self, paths: Sequence[Path], options: ServerOptions, say: Callable[[str], None]
    ) -> None:
        self._options, self._say = options, say
        self._paths = {path.stem: path for path in paths}
        if len(self._paths) < len(paths):
            names = ", ".join(str(path) for path in paths)
            raise SettingsError(
                f"{names}: two models have the same name. Their addresses are made of the names "
                "of the files, so rename one."
            )
        self._stamps = {name: _stamp(path) for name, path in self._paths.items()}
        models = {name: read_audio_model(path) for name, path in self._paths.items()}
        self.current = self._generation(models)
        self.on_change: Callable[[Generation], None] = lambda generation: None
        self._leaving: set[asyncio.Task[None]] = set()

    def _generation(self, models: dict[str, Model]) -> Generation:
        return Generation(models, PredictionPool(list(models.values()), self._options))

    async def start(self) -> None:
        """Return when every process holds the models."""
        await self.current.pool.start()
        self.on_change(self.current)

    async def follow(self) -> None:
        """Replace models whose files change, until cancelled."""
        seen = dict(self._stamps)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            stamps = {name: _stamp(path) for name, path in self._paths.items()}
            changed = [
                name  # and no longer being written: the same in two looks
                for name in stamps
                if stamps[name] != self._stamps[name] and stamps[name] == seen[name]
            ]
            seen = stamps
            for name in changed:
                self._stamps[name] = stamps[name]
                await self._replace(name)

    async def _replace(self, name: str) -> None:
        path = self._paths[name]
        try:
            model = await run_in_threadpool(read_audio_model, path)
            new = self._generation(self.current.models | {name: model})
            try:
                await new.pool.start()
            except BaseException:
                new.pool.close()
                raise
        except Exception as error:  # whatever is wrong with the file, the server stays
            self._say(f"{error} The model that was read before goes on answering.")
            return
        old, self.current = self.current, new
        self.on_change(new)
        self._say(f"{path.name} has changed and was read again.")
        leaving = asyncio.create_task(_close_when_idle(old.pool))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Kill every process."""
        for task in list(self._leaving):
            task.cancel()
            await asyncio.wait([task])
        await run_in_threadpool(self.current.pool.close)


async def _close_when_idle(pool: PredictionPool) -> None:
    try:
        while pool.reserved:
            await asyncio.sleep(0.1)
    finally:
        await run_in_threadpool(pool.close)


def read_audio_model(path: Path) -> Model:
    """Read a model that predicts songs, and make sure that it runs, before processes do."""
    model = load_model(path)
    if model.card.source != "audio":
        raise ModelFileError(
            f"{path}: it was trained on a table of window features, so it cannot predict songs. "
            "Train a model on audio, or use songbag predict with --song."
        )
    Predictor(model)
    return model


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written; None where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
