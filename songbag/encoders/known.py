"""Find an encoder by what a sound states: its name and the hash of its graph."""

from dataclasses import replace

from songbag.encoders.encoder import Encoder, graph_hash
from songbag.errors import SettingsError
from songbag.parts import encoders
from songbag.settings import Sound
from songbag.storage.files import write_bytes
from songbag.storage.remote import AnyPath, local_file

_known: dict[str, Encoder] = {}  # of this process, by the hash of the graph


def remember(encoder: Encoder, folder: AnyPath | None = None) -> None:
    """Let `find_encoder` find an encoder in this process, and by a cache folder in others."""
    known = _known.get(encoder.encoding.hash)
    if known is None or len(encoder.head) > len(known.head):  # a model file holds no head
        _known[encoder.encoding.hash] = encoder
    if folder is not None and encoder.encoding.name not in encoders():
        file = _file(folder, encoder.encoding.hash)
        if not file.exists():
            write_bytes(file, encoder.graph)


def find_encoder(sound: Sound, folder: AnyPath | None = None) -> Encoder:
    """Return the encoder of a sound: one of this process, of the registry, or of a cache folder.

    Raises
    ------
    SettingsError
        There is none with that hash.
    """
    assert sound.encoding is not None
    name, wanted = sound.encoding.name, sound.encoding.hash
    if (wanted not in _known or not _known[wanted].head) and name in encoders():
        remember(encoders()[name].load()())
    if wanted not in _known and folder is not None and _file(folder, wanted).exists():
        with local_file(_file(folder, wanted)) as file:
            graph = file.read_bytes()
        if graph_hash(graph) == wanted:
            _known[wanted] = Encoder(sound, graph)
    if wanted not in _known:
        raise SettingsError(
            f"the encoder '{name}' with the hash {wanted} is not at hand. Give it again: "
            "--encoder FILE.onnx, or the version of the package that it came with."
        )
    encoder = _known[wanted]
    return encoder if encoder.sound == sound else replace(encoder, sound=sound)


def _file(folder: AnyPath, name: str) -> AnyPath:
    return folder / "encoders" / f"{name}.onnx"
