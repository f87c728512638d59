"""Recipe: every number of a training run. The runs themselves are files in `recipes/`."""

from __future__ import annotations

import difflib
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np

from mematte.errors import TrainingError
from mematte.model import SPECS, ModelSpec

from .batr import TARGET_SHARE

Kind = TypeVar("Kind")

REPEATED_AFTER = 64  # steps until crops are seen again: a power of two, as are the workers that keep them


@dataclass(frozen=True)
class Crops:
    """A kind of batch."""

    size_px: int
    count: int  # crops per step, all processes and accumulated parts together
    probability: float = 1.0  # of a step to be of this kind


@dataclass(frozen=True)
class LossWeights:
    """What the total loss is a sum of. The published recipe has 1 everywhere, no squares and no balance."""

    unknown_l1: float = 1.0
    unknown_l2: float = 0.0  # squares: lower MSE where the network cannot tell, softer edges
    known_l1: float = 1.0
    laplacian: float = 1.0
    gradient: float = 1.0
    routing: float = 1.0  # BATR; without effect in a network without routed blocks
    distillation: float = 1.0  # without effect where there is no teacher


@dataclass(frozen=True)
class Recipe:
    """A run. On the command line every field is a key=value, nested ones as weights.laplacian=4."""

    # The network and where it starts
    spec: ModelSpec
    start: str = ""  # weights that it starts from, a name or path; empty: from random values
    widen: bool = False  # those are of a smaller network, whose channels are copied
    teacher: str = ""  # weights of the frozen teacher; empty: no distillation

    # Data: folders, all optional as long as there is something to see
    foregrounds: tuple[str, ...] = ()  # cut-outs (RGBA, or foreground and alpha) to lay over backgrounds
    backgrounds: tuple[str, ...] = ()
    photographs: tuple[str, ...] = ()  # pictures with alpha, of which parts are shown
    procedural_share: float = 0.5  # of the composites whose foreground is drawn
    photograph_share: float = 0.5  # of the crops, where there are photographs
    photograph_px: int = 1100  # longer side that photographs are reduced to; 0: they are shown as they are
    hard_share: float = 1.0  # of the crops with all that makes matting hard; the others are plain
    enlarged_share: float = 0.0  # of the composites, enlarged as small pictures are for the network
    drawings: int = 240  # that are in use at a time
    crops_per_drawing: int = 64  # every process makes each drawing: thousands with many processes
    augmentation: Literal["photographic", "published", "on_device"] = "photographic"

    # Steps
    steps: int = 0
    minutes: float = 0.0  # the run ends after so long, with fewer steps; 0: when its steps are done
    crops: tuple[Crops, ...] = (Crops(512, 16),)
    repeats: int = 1  # steps that see the same crops, turned or mirrored; long after one another
    accumulate: int = 1  # parts that a step's batch is computed in, one after the other
    seed: int = 0

    # Optimiser
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 5e-4
    matrix_learning_rate: float = 1.5e-3  # Muon's
    layer_decay: float = 1.0  # factor on the rate per layer downwards from the decoder
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_norm: float = 1.0  # clipped to
    warmup_steps: int = 250
    warmup_from: float = 0.001  # of the peak
    drops: tuple[tuple[float, float], ...] = ()  # (progress, factor of the peak from there on)
    decay_share: float = 0.0  # the last part of the run, over which the rate falls to zero
    averaging: float = 0.999  # exponential moving average of the weights, per step; 0: none
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    sync_batchnorm: bool = False  # batch statistics over all GPUs
    freeze_batchnorm: bool = False  # batch statistics stay those of start=: for batches of a few crops

    # Losses and routing
    weights: LossWeights = field(default_factory=LossWeights)
    routing: Literal["batch", "image", "everyone"] = "batch"  # who has to meet the target; or all attend
    target_share: float = TARGET_SHARE
    routers_balance: float = 0.0  # see `batr.batch_constraint`
    noise_until: float = 1.0  # progress at which the routers' decisions are no longer random; 1: never
    refine: bool = True  # False: tokens that do not attend pass unchanged, for comparison

    # What is measured and kept
    validation: str = ""  # a folder of pictures with trimap and alpha
    validate_every: int = 1000  # steps
    save_every: int = 200  # steps
    log_every: int = 20  # steps
    licence: str = "unknown"  # of the weights
    data: str = ""  # what it is trained on and under which licences, for the record in the weights

    def showing(self, step: int) -> tuple[int, int]:
        """(step whose crops a step sees, how many steps have seen them before)."""
        block, place = divmod(step, self.repeats * REPEATED_AFTER)
        showing, offset = divmod(place, REPEATED_AFTER)
        return block * REPEATED_AFTER + offset, showing

    def batch(self, step: int) -> Crops:
        """What a step's batch is made of; the same in every process."""
        if len(self.crops) == 1:
            return self.crops[0]
        # Not a crop's generator: without a last number this would be that of the step's first.
        rng = np.random.default_rng([self.seed, self.showing(step)[0], 2**32 - 1])
        chances = np.array([crops.probability for crops in self.crops])
        return self.crops[int(rng.choice(len(self.crops), p=chances / chances.sum()))]

    def drawing(self, step: int) -> int:
        """Number of the first of the drawn mattes that a step uses: they change slowly."""
        chances = sum(crops.probability for crops in self.crops)
        crops_per_step = sum(crops.probability * crops.count for crops in self.crops) / chances
        return int(self.showing(step)[0] * crops_per_step / self.crops_per_drawing)

    def routing_noise(self, progress: float) -> float:
        """Factor on the routers' Gumbel noise: 1 at first, over the last two thirds falling to 0.

        `progress`: share of the run that is done, 0 to 1.
        """
        if self.noise_until >= 1:
            return 1.0
        if self.noise_until <= 0:
            return 0.0
        return min(1.0, max(0.0, 1.5 * (1 - progress / self.noise_until)))

    def rate_factor(self, step: int, progress: float) -> float:
        """Learning rate relative to its peak: a short rise, a plateau with drops, a straight fall to zero.

        `progress`: share of the run that is done, 0 to 1.
        """
        rise = self.warmup_from + (1 - self.warmup_from) * min(1.0, step / max(1, self.warmup_steps))
        level = min((factor for start, factor in self.drops if progress >= start), default=1.0)
        fall = min(1.0, (1 - progress) / self.decay_share) if self.decay_share else 1.0
        return rise * level * max(0.0, fall)

    def check(self) -> None:
        """Refuse numbers that make no run.

        Raises:
            TrainingError: says which field, its value, and what it may be.
        """
        for complaint in self._complaints():
            raise TrainingError(f"The recipe cannot be run: {complaint}.")

    def _complaints(self) -> Iterator[str]:
        """What makes it no run; each may take for granted what those before it ask for."""
        if self.steps < 1:
            yield f"steps={self.steps}: a run needs at least one step"
        if self.repeats < 1:
            yield f"repeats={self.repeats}: crops are seen at least once"
        if self.drawings < 1:
            yield f"drawings={self.drawings}: at least one"
        if self.crops_per_drawing < 1:
            yield f"crops_per_drawing={self.crops_per_drawing} is not at least one"
        if self.accumulate < 1:
            yield f"accumulate={self.accumulate}: a batch has at least one part"
        if not self.crops:
            yield "crops is empty: a batch needs crops"
        for crops in self.crops:
            if crops.size_px % 32 or crops.size_px < 64:
                yield f"crops of {crops.size_px} px: the side is a multiple of 32, at least 64"
            if crops.count < 1 or crops.count % self.accumulate:
                yield f"{crops.count} crops per step are not accumulate={self.accumulate} equal parts"
        for name in (one.name for one in fields(self) if one.name.endswith("_share")):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}={getattr(self, name)} is not in [0, 1]"
        if not 0 <= self.averaging < 1:
            yield f"averaging={self.averaging} is not in [0, 1)"
        if self.photograph_px != 0 and self.photograph_px < 64:
            yield f"photograph_px={self.photograph_px}: 0 for their own size, or at least 64"
        if self.widen and not self.start:
            yield "widen=true needs the weights of a smaller network: start="
        if self.freeze_batchnorm and not self.start:
            kept = "freeze_batchnorm=true keeps the statistics of the weights of start="
            yield f"{kept}, and there is no start="
        if self.freeze_batchnorm and self.sync_batchnorm:
            yield "with freeze_batchnorm=true there is nothing for sync_batchnorm=true to join"
        yield from self._out_of_range()

    def _out_of_range(self) -> Iterator[str]:
        """What is no number, negative or zero where that makes no sense."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        numbers |= {f"weights.{name}": weight for name, weight in asdict(self.weights).items()}
        for name, value in numbers.items():
            if not math.isfinite(value):
                yield f"{name}={value} is no finite number"
            elif value < 0:
                yield f"{name}={value} is negative"
        for name in ("save_every", "log_every", "validate_every"):
            if numbers[name] == 0:
                yield f"{name}=0: every so many steps, at least 1"
        for name in ("learning_rate", "matrix_learning_rate", "layer_decay"):
            if numbers[name] == 0:
                yield f"{name}=0 is not positive: nothing would be learned"
        if self.gradient_norm == 0:
            yield "gradient_norm=0 leaves nothing of any gradient; 1e9 clips none"
        if self.layer_decay > 1:
            yield f"layer_decay={self.layer_decay} is above 1"
        if not all(0 <= beta < 1 for beta in self.betas):
            yield f"betas={list(self.betas)} are not in [0, 1)"
        if not all(0 <= progress <= 1 and 0 <= factor < math.inf for progress, factor in self.drops):
            yield f"drops={[list(drop) for drop in self.drops]}: progress is in [0, 1], no factor is negative"
        if not all(0 < crops.probability < math.inf for crops in self.crops):
            yield "crops have probabilities that are not positive"

    def record(self) -> dict[str, Any]:
        """For the weights' metadata: all numbers, and no paths of the machine that trained them."""
        numbers = asdict(self)
        for name in ("foregrounds", "backgrounds", "photographs", "validation", "start", "teacher"):
            numbers.pop(name)
        return numbers


def changed(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """A recipe with `key=value` assignments applied, in order.

    Values are read as the field's type: numbers, true/false, words; tuples as comma-separated words, or as
    JSON. `spec` is one of `mematte.model.SPECS`.

    Raises:
        TrainingError: no such key (names the nearest), or a value that is not of its type.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise TrainingError(f"{assignment!r} is no setting; write key=value, for example steps=2000.")
        recipe = _with(recipe, key.strip(), key.strip().split("."), text.strip())
    return recipe


def _with(owner: Kind, key: str, path: list[str], text: str) -> Kind:
    hints = typing.get_type_hints(type(owner))
    if path[0] not in hints or (len(path) > 1 and hints[path[0]] is not LossWeights):
        keys = list(_keys(Recipe))
        nearest = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
        raise TrainingError(
            f"A recipe has no {key!r}. The nearest is {nearest[0]!r}; `mematte train RECIPE.py --keys` "
            "prints all."
        )
    if len(path) > 1:
        value = _with(getattr(owner, path[0]), key, path[1:], text)
    else:
        try:
            value = _parsed(hints[path[0]], text)
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{key}={text}: {_wanted(hints[path[0]])}.") from error
    return replace(owner, **{path[0]: value})  # type: ignore[type-var]


def settings(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Every key that `changed` takes, with its value in this recipe."""
    for key in _keys(Recipe):
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part)
        yield key, value.name if isinstance(value, ModelSpec) else value


def _keys(kind: type) -> Iterable[str]:
    hints = typing.get_type_hints(kind)
    for name in (one.name for one in fields(kind)):
        if hints[name] is LossWeights:
            yield from (f"{name}.{inner.name}" for inner in fields(LossWeights))
        else:
            yield name


def _parsed(kind: Any, text: str) -> Any:
    if kind is ModelSpec:
        return SPECS[text]
    if kind is bool:
        return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
    if kind in (int, float, str):
        return kind(text)
    if typing.get_origin(kind) is Literal:
        if text not in typing.get_args(kind):
            raise ValueError(text)
        return text
    if kind == tuple[str, ...] and not text.startswith("["):
        return tuple(part for part in text.split(",") if part)
    return _restored(kind, json.loads(text))


def _wanted(kind: Any) -> str:
    if kind is ModelSpec:
        return f"a network is one of {', '.join(SPECS)}"
    if typing.get_origin(kind) is Literal:
        return f"it is one of {', '.join(typing.get_args(kind))}"
    if kind in (int, float, bool):
        return {int: "it is a whole number", float: "it is a number", bool: "it is true or false"}[kind]
    if kind == tuple[Crops, ...]:
        return 'crops are a list such as [{"size_px": 512, "count": 16}]'
    if kind == tuple[str, ...]:
        return "these are words, with commas between them"
    if kind == tuple[float, float]:
        return "these are two numbers in JSON, for example [0.9, 0.99]"
    if kind is LossWeights:
        return "its parts are set one by one, for example weights.laplacian=4"
    return "it is a list in JSON, for example [[0.2, 0.1], [0.87, 0.05]]"


def to_json(recipe: Recipe) -> str:
    """The recipe as text that `from_json` reads."""
    return json.dumps(asdict(recipe), indent=2)


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: the text is not such a recipe.
    """
    restored: Recipe = _restored(Recipe, json.loads(text))
    return restored


def _restored(kind: Any, value: Any) -> Any:
    """JSON's lists and dictionaries -> the dataclasses and tuples that `kind` names."""
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise TypeError(value)
        hints = typing.get_type_hints(kind)
        return kind(**{name: _restored(hints[name], inner) for name, inner in value.items()})
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if not isinstance(value, list):
            raise TypeError(value)
        if inner[-1] is Ellipsis:
            return tuple(_restored(inner[0], one) for one in value)
        return tuple(_restored(one, part) for one, part in zip(inner, value, strict=True))
    if kind is float and isinstance(value, int):
        return float(value)
    if kind in (int, float, str, bool) and not isinstance(value, kind):
        raise TypeError(value)
    return value
