"""Writes files that should hurt a decoder, the same bytes every time (but for ids in a webm).

    python tests/helpers/hostile/make_corpus.py FOLDER

What each of them must become stands in tests/audio/test_hostile_files.py.
"""

import gzip
import io
import os
import socket
import struct
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import soundfile

from songbag.audio.waveform import write_waveform

RATE = 44100
SECONDS = 6


def song(seconds=SECONDS, seed=0):
    """Two channels of noise and a siren: nothing that a codec could leave out."""
    t = np.arange(seconds * RATE) / RATE
    noise = np.random.default_rng(seed).standard_normal((2, len(t)))
    cycles = 440 * t + 60 * np.sin(2 * np.pi * t)  # up and down: a steady tone is a hum
    return (0.2 * np.sin(2 * np.pi * cycles) + 0.05 * noise).astype(np.float32)


def healthy(folder):
    """One file of every format, as bytes by ending."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for ending in (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm", ".aiff"):
        path = folder / f"healthy{ending}"
        if ending in (".ogg", ".aiff"):
            soundfile.write(path, song().T, RATE)
        else:
            write_waveform(path, song(), RATE)
        found[ending] = path.read_bytes()
    found |= {ending: renumbered(found[ending]) for ending in (".ogg", ".opus")}
    return found


def renumbered(ogg):
    """Pages with the stream number 1: it is drawn at random or by the clock."""
    pages = [b"OggS" + rest for rest in ogg.split(b"OggS")[1:]]
    return b"".join(sealed(page[:14] + struct.pack("<I", 1) + page[18:]) for page in pages)


def flipped(data, count, seed, first=400):
    """``count`` bits flipped behind the header."""
    rng = np.random.default_rng(seed)
    found = bytearray(data)
    for place in rng.integers(min(first, len(data) // 2), len(data), count):
        found[place] ^= 1 << int(rng.integers(8))
    return bytes(found)


# --- mp3 --------------------------------------------------------------------------------


def mp3(bit_rate, seconds=SECONDS, seed=0):
    """Frames of an mp3, without tags and without the header frame that states its length."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as file:
        stream = file.add_stream("libmp3lame", rate=RATE, layout="stereo")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(song(seconds, seed), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for piece in av.AudioResampler("fltp", "stereo", RATE, frame_size=1152).resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return out.getvalue()


def xing_claiming(frames):
    """A header frame that claims so many frames."""
    head = bytes.fromhex("fffb9064") + bytes(32) + b"Xing" + struct.pack(">II", 1, frames)
    return head + bytes(417 - len(head))


def id3(frame_id, text, size=None):
    frame = frame_id + struct.pack(">IH", len(text), 0) + text
    size = len(frame) if size is None else size
    packed = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + packed + frame


# --- bombs ------------------------------------------------------------------------------


def flac_bomb(hours, rate, channels, claimed_seconds=None):
    """Silence in frames of 65,535 samples: a second costs half a byte."""
    count = int(hours * 3600 * rate) // 65535
    info = struct.pack(">HH", 65535, 65535) + bytes(6)
    total = count * 65535 if claimed_seconds is None else claimed_seconds * rate
    info += struct.pack(">Q", rate << 44 | (channels - 1) << 41 | 15 << 36 | total) + bytes(16)
    parts = [b"fLaC" + struct.pack(">I", 0x80000000 | len(info)) + info]
    silence = bytes(3) * channels  # constant subframes of 16 bits, value 0
    for number in range(count):
        head = b"\xff\xf8" + bytes([0x70, (channels - 1) << 4 | 8])
        head += chr(number).encode("utf-8", "surrogatepass") + struct.pack(">H", 65534)
        head += bytes([crc(head, 8, 0x07)])
        parts.append(head + silence + struct.pack(">H", crc(head + silence, 16, 0x8005)))
    return b"".join(parts)


def opus_bomb(hours):
    """Empty packets of 60 ms, 255 a page."""
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48000, 0, 0)
    parts = [page([head], 0, 0, 2), page([b"OpusTags" + bytes(8)], 0, 1, 0)]
    for number in range(int(hours * 3600 / (255 * 0.06))):
        parts.append(page([b"\x18"] * 255, (number + 1) * 255 * 2880, number + 2, 0))
    return b"".join(parts)


def page(packets, position, number, flags):
    sizes = bytes(len(packet) for packet in packets)
    head = b"OggS" + struct.pack("<BBqIII", 0, flags, position, 1, number, 0)
    return sealed(head + bytes([len(sizes)]) + sizes + b"".join(packets))


def sealed(page):
    """An Ogg page with the checksum it should have."""
    blank = page[:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", crc(blank, 32, 0x04C11DB7)) + page[26:]


_tables = {}


def crc(data, bits, polynomial):
    if bits not in _tables:
        top, mask = 1 << (bits - 1), (1 << bits) - 1
        table = []
        for value in range(256):
            value <<= bits - 8
            for _ in range(8):
                value = (value << 1) ^ (polynomial if value & top else 0)
            table.append(value & mask)
        _tables[bits] = table
    table, found, mask = _tables[bits], 0, (1 << bits) - 1
    for byte in data:
        found = ((found << 8) & mask) ^ table[(found >> (bits - 8)) ^ byte]
    return found


# --- wav --------------------------------------------------------------------------------


def wav(values, rate=RATE, channels=None, data_size=None, bits=None):
    """A wav with whatever header is asked for; values (samples, channels)."""
    data = values.tobytes()
    channels = values.shape[1] if channels is None else channels
    bits = 8 * values.itemsize if bits is None else bits
    kind = 3 if values.dtype.kind == "f" else 1
    size = len(data) if data_size is None else data_size
    step = values.shape[1] * values.itemsize
    form = struct.pack(
        "<HHIIHH", kind, channels, rate, (rate * step) & 0xFFFFFFFF, step & 0xFFFF, bits
    )
    riff = min(0xFFFFFFFF, size + 36) if size else 0
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + data


def integers(seconds=SECONDS, rate=RATE):
    return np.round(32767 * song(seconds)[:, : seconds * rate].T).astype("<i2")


def floats(bad, share):
    values = song()[:1].T.astype("<f4").copy()
    values[:: max(1, round(1 / share))] = bad
    return values


# --- the corpus -------------------------------------------------------------------------


def write_corpus(folder, canary="http://127.0.0.1:9"):
    """Write everything below ``folder`` and return the paths by name."""
    good = healthy(folder / "healthy")
    files = {
        **_damaged(good),
        **_lying(good),
        **_foreign(good, canary),
        **_odd(good),
    }
    bad = folder / "bad"
    bad.mkdir(exist_ok=True)
    for name, data in files.items():
        (bad / name).write_bytes(data)
    _irregular(bad)
    return {path.name: path for path in sorted(bad.iterdir())}


def _damaged(good):
    found = {f"half{ending}": data[: len(data) // 2] for ending, data in good.items()}
    found |= {
        f"flipped{ending}": flipped(good[ending], 200, number)
        for number, ending in enumerate((".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"))
    }
    garbage = np.random.default_rng(9).bytes(20_000)
    middle = len(good[".mp3"]) // 2
    found["hole.mp3"] = good[".mp3"][:middle] + garbage + good[".mp3"][middle:]
    found["first-1000.ogg"] = good[".ogg"][:1000]
    found["first-1000.flac"] = good[".flac"][:1000]
    return found


def _lying(good):
    flac = good[".flac"]
    totals = {"zero": 0, "max": 2**36 - 1}
    found = {f"flac-total-{name}.flac": _with_total(flac, n) for name, n in totals.items()}
    values = integers()
    found |= {
        "wav-size-zero.wav": wav(values, data_size=0),
        "wav-size-max.wav": wav(values, data_size=0xFFFFFFFF),
        "wav-rate-0.wav": wav(values, rate=0),
        "wav-rate-8.wav": wav(values, rate=8),
        "wav-rate-1mhz.wav": wav(values, rate=1_000_000),
        "wav-rate-max.wav": wav(values, rate=0xFFFFFFFF),
        "wav-channels-0.wav": wav(values, channels=0),
        "wav-channels-max.wav": wav(values, channels=65535),
        "wav-bits-1000.wav": wav(values, bits=1000),
        "wav-header-only.wav": wav(values[:0]),
        "xing-claims-an-hour.mp3": xing_claiming(137_813) + mp3(128_000),
    }
    return found


def _with_total(flac, total):
    """STREAMINFO's 36 bits of total samples replaced."""
    (packed,) = struct.unpack(">Q", flac[18:26])
    return flac[:18] + struct.pack(">Q", packed >> 36 << 36 | total) + flac[26:]


def _foreign(good, canary):
    secret = "../healthy/healthy.wav"
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + np.random.default_rng(3).bytes(9000)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("song.mp3"), good[".mp3"])
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:6,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "empty.mp3": b"",
        "one-byte.mp3": b"\xff",
        "zeros.mp3": bytes(50_000),
        "random.mp3": np.random.default_rng(2).bytes(50_000),
        "page.mp3": b"<!doctype html><html><body>Not found</body></html>" * 50,
        "photo.mp3": jpeg,
        "code.mp3": b"#!/bin/sh\nrm -rf ~\n" * 20,
        "url.m3u8": hls.format(f"{canary}/a.wav").encode(),
        "url.mp3": hls.format(f"{canary}/b.wav").encode(),
        "local.m3u8": hls.format(secret).encode(),
        "concat.mp3": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "concat-url.ogg": f"ffconcat version 1.0\nfile {canary}/c.wav\n".encode(),
        "list.pls": f"[playlist]\nFile1={canary}/d.mp3\nNumberOfEntries=1\n".encode(),
        "list.m3u": f"#EXTM3U\n{canary}/e.mp3\n".encode(),
        "session.sdp": b"v=0\nm=audio 5004 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
        "stream.mpd": f'<?xml version="1.0"?><MPD><BaseURL>{canary}/</BaseURL></MPD>'.encode(),
        "song.mp3.zip": zipped.getvalue(),
        "song.mp3.gz": gzip.compress(good[".mp3"], mtime=0),
        "flac-named.mp3": good[".flac"],
        "wav-named.ogg": good[".wav"],
        "mp3-named.txt": good[".mp3"],
    }


def _odd(good):
    seconds = SECONDS
    eight = np.tile(song()[:1].T, (1, 8)).astype("<f4")
    return {
        "nan-all.wav": wav(floats(np.nan, 1)),
        "nan-few.wav": wav(floats(np.nan, 1e-4)),
        "inf-few.wav": wav(floats(np.inf, 1e-4)),
        "huge-few.wav": wav(floats(1e30, 1e-4)),
        "huge-all.wav": wav(floats(1e30, 1)),
        "silent.wav": wav(np.zeros((RATE * seconds, 1), "<i2")),
        "one-sample.wav": wav(integers()[:1]),
        "eight-channels.wav": wav(eight),
        "rate-1000.wav": wav(integers()[:6000], rate=1000),
        "rate-500khz.wav": wav(np.tile(integers(), (4, 1)), rate=500_000),
        "twice.mp3": good[".mp3"] * 2,
        "twice.flac": good[".flac"] * 2,
        "twice.ogg": good[".ogg"] * 2,
        "two-rates.mp3": mp3(64_000, 3) + mp3(256_000, 3, seed=1),  # variable rate, no header
        "latin-1-tag.mp3": id3(b"TIT2", b"\x03caf\xe9") + mp3(128_000),
        "huge-tag.mp3": id3(b"TIT2", b"\x03hello", size=2**28 - 1) + mp3(128_000),
        "huge-tag-frame.mp3": id3(b"TIT2" + b"\x7f\xff\xff\xff", b"") + mp3(128_000),
        "six-hours.flac": flac_bomb(6, 44100, 2),
        "six-hours-claims-six-seconds.flac": flac_bomb(6, 44100, 2, 6),
        "one-hour-8ch-192k.flac": flac_bomb(1, 192_000, 8),
        "six-hours.opus": opus_bomb(6),
    }


def _irregular(folder):
    """What is in a folder and is no file."""
    (folder / "folder.mp3").mkdir(exist_ok=True)
    for name, target in (("zero.wav", "/dev/zero"), ("tty.wav", "/dev/tty"), ("loop.wav", "loop.wav"), ("gone.wav", "nothing")):  # fmt: skip
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
    (folder / "pipe.wav").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.wav")
    (folder / "socket.wav").unlink(missing_ok=True)
    before = os.getcwd()
    os.chdir(folder)  # the name of a socket may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.wav")
    finally:
        os.chdir(before)


if __name__ == "__main__":
    print(len(write_corpus(Path(sys.argv[1]))), "files")
