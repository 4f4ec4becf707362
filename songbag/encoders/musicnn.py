"""The encoder that comes with Songbag: musicnn, trained on the Million Song Dataset.

``tools/convert_musicnn.py`` makes the files from the authors' wheel.

References
----------
Pons, Serra (2019), musicnn: Pre-trained convolutional neural networks for music audio tagging,
ISMIR late-breaking, https://arxiv.org/abs/1909.06654; the design: Pons et al. (2018), End-to-end
learning for music audio tagging at scale, ISMIR.
"""

from functools import cache
from importlib import resources

import safetensors.numpy

from songbag.encoders.encoder import Encoder
from songbag.encoders.manifest import encoder_of

_FILES = resources.files("songbag") / "encoders"


@cache
def load() -> Encoder:
    """Return the encoder with its tags."""
    return encoder_of(
        (_FILES / "musicnn.json").read_bytes(),
        (_FILES / "musicnn.onnx").read_bytes(),
        safetensors.numpy.load((_FILES / "musicnn_head.safetensors").read_bytes()),
    )
