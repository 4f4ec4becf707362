"""A pooling of your own: logits (songs, windows, classes) to song logits (songs, classes)."""

import torch
from made_windows import made_windows

import songbag


def surest_windows(logits: torch.Tensor) -> torch.Tensor:
    """Weigh windows by how sure they are: a softmax over windows of the spread of logits."""
    sure = (logits.amax(dim=-1, keepdim=True) - logits.amin(dim=-1, keepdim=True)).softmax(dim=1)
    return (sure * logits).sum(dim=1)


bags = songbag.bags_from_table(
    made_windows(), song="name", label="label", song_pattern=r"(.+)_frame(\d+)"
)
result = songbag.train(bags, pooling=surest_windows, epochs=40, quiet=True)
model = songbag.load(result.save("own_pooling.songbag").path)
print(model.predict(bags)[["predicted", "confidence"]].head())
