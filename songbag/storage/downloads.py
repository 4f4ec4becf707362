"""Model files that somebody shares: an address becomes a file of this machine.

``hf://user/model``
    The model file of a repository of the Hugging Face hub, through ``huggingface_hub``, which
    also keeps it. More exactly ``hf://user/model@revision/genre.songbag``.
``https://host/genre.songbag#sha256=...``
    A file whose hash is known, kept under it.
"""

import hashlib
import re
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import IO

from songbag.errors import ModelFileError, SettingsError
from songbag.storage.files import atomic_write, default_folder
from songbag.storage.remote import is_url

MODEL_ENDING = ".songbag"
_HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?")
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
_MOST_BYTES = 1 << 30  # more than a model file may have
_BLOCK = 1 << 20
_SECONDS = 30.0  # without a byte


def local_model(model: str | Path) -> Path:
    """Return the file of a model that is named by a path or an address.

    Raises
    ------
    SettingsError
        An address of another kind, one without a hash, or ``huggingface_hub`` is missing.
    ModelFileError
        It could not be downloaded, or is not the file with this hash.

    Examples
    --------
    >>> local_model("genre.songbag").name
    'genre.songbag'
    """
    address = str(model)
    if not is_url(model):
        return Path(model)
    if address.startswith("hf://"):
        return _from_hub(address)
    if address.startswith(("https://", "http://")):
        return _from_web(address)
    raise SettingsError(
        f"{address}: a model is a file, hf://user/model, or https://host/genre.songbag#sha256=..."
    )


def _from_web(address: str) -> Path:
    url, _, fragment = address.partition("#")
    stated = _SHA256.fullmatch(fragment.lower())
    if stated is None:
        raise SettingsError(
            f"{address}: a model from the web needs the hash of its file, so that it is the one "
            f"you mean: {url}#sha256=... (64 digits, which sha256sum {_name(url)} prints)."
        )
    path = default_folder() / "models" / stated[1] / _name(url)
    try:
        with open(path, "rb") as cached:
            if _hash(cached) == stated[1]:
                return path
    except FileNotFoundError:
        pass
    with atomic_write(path) as file:  # leaves nothing behind where a download breaks off
        _download(url, file)
        file.seek(0)
        if (actual := _hash(file)) != stated[1]:
            raise ModelFileError(
                f"{url}: its hash is sha256={actual}, not the one that was asked for. It has "
                "changed, or is another file; it is not used."
            )
    return path


def _download(url: str, file: IO[bytes]) -> None:
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "songbag"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            length = answer.headers.get("Content-Length")
            while block := answer.read(_BLOCK):
                file.write(block)
                if file.tell() > _MOST_BYTES:
                    raise ModelFileError(f"{url}: it has more than {_MOST_BYTES >> 20} MiB.")
    except urllib.error.HTTPError as error:
        error.close()
        raise ModelFileError(f"{url}: it could not be downloaded ({error}).") from None
    except (OSError, http.client.HTTPException) as error:
        raise ModelFileError(f"{url}: it could not be downloaded ({error}).") from None
    if length is not None and file.tell() != int(length):
        raise ModelFileError(f"{url}: the download broke off at {file.tell()} of {length} bytes.")


def _hash(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _name(url: str) -> str:
    """Return the name of a file at an address, without what a file system may not like."""
    last = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    return re.sub(r"[^\w. -]", "_", last).lstrip(".") or f"model{MODEL_ENDING}"


def _from_hub(address: str) -> Path:
    parts = _HUB.fullmatch(address)
    if parts is None:
        raise SettingsError(
            f"{address}: write hf://user/model, or hf://user/model@revision/genre{MODEL_ENDING}."
        )
    repository, revision, name = parts.groups()
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError:
        raise SettingsError(
            f"{address} needs the package huggingface_hub: pip install 'songbag[hub]'."
        ) from None
    try:
        if name is None:
            files = HfApi().list_repo_files(repository, revision=revision)
            models = [file for file in files if file.endswith(MODEL_ENDING)]
            if len(models) != 1:
                names = ", ".join(models) or "none"
                raise ModelFileError(
                    f"{address}: it has no single model file ({names}). Name one: "
                    f"{address}/genre{MODEL_ENDING}."
                )
            (name,) = models
        return Path(hf_hub_download(repository, name, revision=revision))
    except ModelFileError:
        raise
    except Exception as error:  # its own, those of its HTTP library, and OSError
        said = str(error).strip().partition("\n")[0]
        raise ModelFileError(f"{address}: the hub did not give it ({said}).") from None
