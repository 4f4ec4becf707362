"""Measure audio files for the check, and say what is wrong with a file or unlike the others.

A file is decoded once, in the sandbox. Its facts and the codes of its fingerprint are
cached beside the frames, so checking a collection again decodes only what changed::

    <cache>/<fingerprint's sound>/<2 digits>/<content hash>[-<excerpt>].safetensors
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np

from songbag.audio import fingerprint, waveform
from songbag.audio.audio_file import AudioReport, Source, local_source, open_file
from songbag.audio.cache import DamagedFramesError, Receipt, file_stamp, frames_key
from songbag.audio.extract import extract_all
from songbag.audio.fingerprint import Codes
from songbag.audio.meter import SoundFacts, sound_faults
from songbag.audio.sandbox import run_in_sandbox
from songbag.audio.sandbox_child import Request
from songbag.audio.waveform import excerpt_span
from songbag.data.song import Song
from songbag.errors import AudioError
from songbag.parallel.pool import Workers
from songbag.quality.findings import Finding
from songbag.settings import Limits, Recipe, Record, Sound
from songbag.storage.files import content_hash, write_bytes
from songbag.storage.remote import AnyPath, local_file

_CODE = 3  # raised when a fact or the fingerprint changes
# Names the cache of facts; its frames are never stored, so the code is free to count facts.
SOUND = msgspec.structs.replace(fingerprint.SOUND, code=100 * fingerprint.SOUND.code + _CODE)
_DECODE = f"{__name__}:decode_facts"  # run in the sandbox
_ODD, _USUAL = 0.05, 0.75  # shares of songs: so few differ from so many
_LOSSLESS = ("pcm", "flac", "alac", "wavpack", "tta", "ape")
_DEPTHS = {"u8": "8 bit", "s16": "16 bit", "s32": "24 or 32 bit", "flt": "float", "dbl": "float"}


class Facts(Record, frozen=True):
    """What was measured of a file, or why it could not be read.

    ``status``, ``reason`` and ``message`` are as in a `Receipt`. ``seconds`` is the length of the
    excerpt, ``claimed_seconds`` what the header says, None where it does not. ``faults`` are
    the kinds of what is wrong with the file, each with words. ``audio_hash`` is of the decoded
    mono samples at the file's own rate: the same for the same sound in another lossless format.
    ``size`` is in bytes.
    """

    status: str = "ok"
    reason: str = ""
    message: str = ""
    codec: str = ""
    sample_format: str = ""
    native_rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    decoded_seconds: float = 0.0
    claimed_seconds: float | None = None
    faults: tuple[tuple[str, str], ...] = ()
    sound: SoundFacts = SoundFacts()
    audio_hash: str = ""
    size: int = 0


def measure_all(
    sources: Sequence[Source],
    folder: AnyPath,
    limits: Limits,
    workers: Workers,
    track: Callable[[Iterable[Receipt], int], Iterable[Receipt]],
) -> Iterator[tuple[Facts, AnyPath | None]]:
    """Yield the facts of every source, in order, and the file of its fingerprint.

    A source that could not be read has no such file (see `read_codes`).
    """
    receipts = extract_all(sources, SOUND, folder, limits, workers, measure)
    for source, receipt in zip(sources, track(receipts, len(sources)), strict=True):
        if receipt.status == "failed":
            yield Facts(status="failed", reason=receipt.reason, message=receipt.message), None
            continue
        try:
            facts = _read(folder / receipt.key)[0]
        except DamagedFramesError:
            receipt = measure(source, SOUND, folder, limits)
            facts = _read(folder / receipt.key)[0]
        yield facts, folder / receipt.key


def read_codes(file: AnyPath | None) -> Codes:
    """Return the fingerprint in a file, none of a song that could not be read."""
    return np.zeros(0, dtype=np.uint32) if file is None else _read(file)[1]


def measure(source: Source, sound: Sound, folder: AnyPath, limits: Limits) -> Receipt:
    """Put one song's facts and fingerprint into the cache and return a receipt for them.

    Never raises for what is wrong with the file: that is a receipt with status "failed".
    """
    from safetensors.numpy import save

    size, mtime_ns = file_stamp(source.path)
    try:
        with local_source(source, limits) as local:
            open_file(local.path, limits).close()  # refuses what cannot be opened, with the reason
            key = frames_key(content_hash(local.path), local, sound)
            try:
                facts, _ = _read(folder / key)
            except DamagedFramesError:
                request = Request(source=local, sound=SOUND, limits=limits, function=_DECODE)
                data = b"".join(run_in_sandbox(request, AudioReport()))
                facts, packed = msgspec.msgpack.decode(data, type=tuple[Facts, bytes])
                codes = np.frombuffer(packed, dtype=np.uint32)
                checked = _Stored(facts=facts, checksum=_checksum(facts, codes))
                metadata = {"songbag": msgspec.json.encode(checked).decode()}
                write_bytes(folder / key, save({"codes": codes}, metadata))
    except AudioError as error:
        return Receipt(
            status="failed", reason=error.reason, message=str(error), size=size, mtime_ns=mtime_ns
        )
    return Receipt(
        status="ok", key=key, level_db=facts.sound.level_db, size=size, mtime_ns=mtime_ns
    )


def decode_facts(
    source: Source, sound: Sound, report: AudioReport, limits: Limits
) -> Iterator[bytes]:
    """Yield the facts of a file and the codes of its fingerprint, in MessagePack."""
    digest = hashlib.blake2b(digest_size=16)
    span = excerpt_span(source, limits)
    rate = sound.sample_rate
    blocks = waveform.read_blocks(source.path, rate, report, span, limits, partial(_hashed, digest))
    codes = fingerprint.fingerprint(blocks)
    faults = list(report.file_faults())
    if report.missing_end and "truncated" not in dict(faults):
        there = f"only {report.decoded_seconds:.1f} s are there"
        faults.append(("truncated", f"{there}; {report.missing_end}"))
    facts = Facts(
        codec=report.codec,
        sample_format=report.sample_format,
        native_rate=report.native_rate,
        channels=report.channels,
        seconds=report.samples / rate,
        decoded_seconds=report.decoded_seconds,
        claimed_seconds=report.claimed_seconds,
        faults=tuple(faults),
        sound=report.sound,
        audio_hash=digest.hexdigest(),
        size=file_stamp(source.path)[0],
    )
    yield msgspec.msgpack.encode((facts, codes.astype(np.uint32, copy=False).tobytes()))


def _hashed(digest: "hashlib.blake2b", blocks: waveform.Native) -> waveform.Native:
    """Pass on blocks, and add their samples to a hash."""
    rate = 0
    for block_rate, block in blocks:
        if block_rate != rate:
            rate = block_rate
            digest.update(f"{rate} Hz".encode())
        digest.update(np.ascontiguousarray(block, dtype="<f4").data)
        yield rate, block


# --- cache files ---


class _Stored(Record, frozen=True):
    facts: Facts
    checksum: str


def _read(file: AnyPath) -> tuple[Facts, Codes]:
    from safetensors import SafetensorError, safe_open

    try:
        with local_file(file) as local, safe_open(local, "numpy") as opened:
            codes: Codes = opened.get_tensor("codes")
            stored = msgspec.json.decode(opened.metadata()["songbag"], type=_Stored)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFramesError(f"{file}: {error}") from None
    if stored.checksum != _checksum(stored.facts, codes):
        raise DamagedFramesError(f"{file}: its contents changed since it was written")
    return stored.facts, codes


def _checksum(facts: Facts, codes: Codes) -> str:
    digest = hashlib.blake2b(msgspec.json.encode(facts), digest_size=16)
    digest.update(np.ascontiguousarray(codes).data)
    return digest.hexdigest()


# --- findings ---


def file_findings(
    songs: Sequence[Song], facts: Sequence[Facts], recipe: Recipe
) -> Iterator[Finding]:
    """Yield what is wrong with every song by itself, and what differs from the others."""
    for song, fact, differences in zip(songs, facts, rare_formats(facts), strict=True):
        label = song.label or ""
        if fact.status == "failed":
            message = fact.message.removeprefix(f"{song.path}: ").rstrip(".")
            yield Finding("unreadable", f"{fact.reason}: {message}", song.id, label=label)
            continue
        for kind, text in file_faults(fact, recipe):
            if kind == "short" and song.end is not None:
                continue  # a training takes the window around a labelled span
            yield Finding(kind, text, song.id, label=label)
        for difference in differences:
            yield Finding("odd", difference, song.id, label=label)


def file_faults(fact: Facts, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the kind of every fault of a file that could be read, and the fault in words."""
    window_seconds = recipe.windows.seconds
    yield from fact.faults
    yield from sound_faults(fact.sound, recipe.sound.sample_rate)
    if fact.seconds < window_seconds:
        yield "short", f"{fact.seconds:.1f} s, less than one window of {window_seconds:g} s"


def lossless(fact: Facts) -> bool:
    """Return whether a file holds the samples of the recording, not an approximation."""
    return fact.codec.startswith(_LOSSLESS)


def bit_depth(fact: Facts) -> str:
    """Return the depth of a lossless file in words, empty for a lossy one."""
    return _DEPTHS.get(fact.sample_format.removesuffix("p"), "") if lossless(fact) else ""


FORMATS: dict[str, Callable[[Facts], str]] = {
    "rate": lambda fact: f"{fact.native_rate} Hz",
    "codec": lambda fact: fact.codec,
    "channels": lambda fact: str(fact.channels),
    "bit depth": bit_depth,
}


def rare_formats(facts: Sequence[Facts]) -> list[list[str]]:
    """Return for every song the values of `FORMATS` that few songs have, where most agree."""
    rare: list[list[str]] = [[] for _ in facts]
    for name, value_of in FORMATS.items():
        values = [value_of(fact) if fact.status == "ok" else "" for fact in facts]
        count = Counter(filter(None, values))
        if not count:
            continue
        usual, most = count.most_common(1)[0]
        if most < _USUAL * count.total():
            continue
        for differences, value in zip(rare, values, strict=True):
            if value and value != usual and count[value] <= max(1, _ODD * count.total()):
                differences.append(f"{name} {value}; {most} others have {usual}")
    return rare
