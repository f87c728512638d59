"""The paper: tensors in, tensors out; imports torch and nothing else."""

from .mematte import Matting, MEMatte, pad
from .router import argmax, everyone, gumbel, within_budget
from .spec import BASE, SMALL, SPECS, STUDENTS, TINY, ModelSpec, teacher

__all__ = [
    "BASE",
    "SMALL",
    "SPECS",
    "STUDENTS",
    "TINY",
    "MEMatte",
    "Matting",
    "ModelSpec",
    "argmax",
    "everyone",
    "gumbel",
    "pad",
    "teacher",
    "within_budget",
]
