"""Files -> model: names, checksums, formats, conversion."""

from .catalog import CATALOG, DEFAULT, Entry
from .checkpoint import Preprocessing, Weights, Windows, build, save_weights, weights_of
from .hub import push_to_hub, save_pretrained
from .load import convert_file, from_pretrained, load_weights

__all__ = [
    "CATALOG",
    "DEFAULT",
    "Entry",
    "Preprocessing",
    "Weights",
    "Windows",
    "build",
    "convert_file",
    "from_pretrained",
    "load_weights",
    "push_to_hub",
    "save_pretrained",
    "save_weights",
    "weights_of",
]
