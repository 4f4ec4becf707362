"""A network of your own: any nn.Module from windows to one output a class (one for two)."""

import torch
from made_windows import made_windows

import songbag

network = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
bags = songbag.bags_from_table(
    made_windows(), song="name", label="label", song_pattern=r"(.+)_frame(\d+)"
)
result = songbag.train(bags, network=network, epochs=80, learning_rate=1e-2, quiet=True)
model = songbag.load(result.save("own_network.songbag").path)  # from here on without torch
print(model.predict(bags)[["predicted", "confidence"]].head())
