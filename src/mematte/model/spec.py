"""ModelSpec: the numbers that draw a network, and the networks that have names."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelSpec:
    """Everything that decides the shape of a network's parameters."""

    name: str
    channels: int
    heads: int
    blocks: str = "WWRWWRWWRWWR"  # W window, R routed, G global
    detail_channels: tuple[int, int, int] = (48, 96, 192)  # decoder, image side, at 1/2, 1/4, 1/8
    fusion_channels: tuple[int, int, int, int] = (
        256,
        128,
        64,
        32,
    )  # decoder, feature side, at 1/8, 1/4, 1/2, 1
    head_channels: int = 16
    mlp_ratio: int = 4
    patch: int = 16  # pixels per token and axis
    window: int = 14  # tokens per window and axis; also the grid of the absolute positions
    global_positions: int = 32  # tokens per axis that a G block's relative positions are made for

    def __post_init__(self) -> None:
        if not self.blocks or set(self.blocks) - set("WRG"):
            raise ValueError(f"A block string is made of W, R and G, not {self.blocks!r}.")
        if self.channels % self.heads or self.channels % 4:
            raise ValueError(f"{self.channels} channels cannot be split among {self.heads} heads.")
        if self.patch != 16:
            raise ValueError(f"The decoder doubles four times, so patches are 16 px, not {self.patch}.")


TINY = ModelSpec(
    "tiny", channels=192, heads=3, detail_channels=(24, 48, 96), fusion_channels=(128, 64, 32, 16)
)
SMALL = ModelSpec("small", channels=384, heads=6)
BASE = ModelSpec("base", channels=768, heads=12)


def teacher(student: ModelSpec) -> ModelSpec:
    """The network a student is distilled from: ViTMatte, the same drawing with every R a G."""
    return replace(student, name=f"{student.name}-teacher", blocks=student.blocks.replace("R", "G"))


STUDENTS = {spec.name: spec for spec in (TINY, SMALL, BASE)}
SPECS = STUDENTS | {spec.name: spec for spec in map(teacher, STUDENTS.values())}
"""All networks by name: MEMatte's three sizes, and the ViTMatte that each is distilled from."""
