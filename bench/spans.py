"""How well labelled spans of long recordings come back: F1 on a grid of .1 s.

Three generated recordings of 20 minutes with calls of three kinds in noise are trained on, a fourth
is predicted; one voice at a time, or two that overlap. Windows are those that fit the spans, and
shorter ones.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import songbag
from tests.helpers.recordings import f1_on_grid, write_recording

SECONDS = 1200.0
WINDOWS = (None, 2.5, 1.5)  # seconds; None: half of the spans' middle length


def main() -> None:
    """Print a row for every number of voices and length of windows."""
    print("voices  windows  spans  true  F1")
    for voices in (1, 2):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for number in range(3):
                write_recording(folder / "labelled", f"r{number}", number, SECONDS, voices)
            true = write_recording(folder / "new", "r3", 3, SECONDS, voices)
            (folder / "new" / "r3.txt").unlink()
            for seconds in WINDOWS:
                measure(folder, voices, seconds, true)


def measure(
    folder: Path, voices: int, seconds: float | None, true: list[tuple[float, float, str]]
) -> None:
    """Train, predict and print one row."""
    recipe = "auto"
    if seconds is not None:
        from songbag.encoders.choose import choose_recipe

        windows = {"windows.seconds": seconds, "windows.hop_seconds": seconds / 2}
        recipe = choose_recipe("auto", windows)
    cache = folder / "cache"
    result = songbag.train(
        folder / "labelled", background="none", recipe=recipe, cache=cache, quiet=True
    )
    spans = result.model.segments(folder / "new", cache=cache)
    found = list(spans[["start", "end", "label"]].itertuples(index=False, name=None))
    used = result.model.card.recipe.windows.seconds
    f1 = f1_on_grid(found, true, SECONDS)
    print(f"{voices:6}  {used:5.1f} s  {len(found):5}  {len(true):4}  {f1:.3f}", flush=True)


if __name__ == "__main__":
    main()
