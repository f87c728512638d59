"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

import logging
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from mematte.errors import TrainingError

log = logging.getLogger("mematte.train")

CHECKPOINT = "checkpoint.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside, then renames. A full disk is reported, and the run goes on from memory: the previous
    checkpoint stays whole, and there may be room again by the time of the next one.

    Attributes:
        failure: what went wrong with the last checkpoint, "" if it was written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure = ""

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read one.

        Raises:
            TrainingError: it is damaged.
        """
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrainingError(
                f"The checkpoint {path} cannot be read: {reason}. Begin anew from the run's weights: "
                f"start={Path(path).parent / 'weights.safetensors'}"
            ) from error

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write one, atomically."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            self.failure = ""
        except (OSError, RuntimeError) as error:  # PyTorch's writer turns some OSErrors into RuntimeErrors
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = "the previous one is whole" if path.exists() else "there is none yet"
            self.failure = f"{path} could not be written: {reason.splitlines()[0]}"
            log.error("%s; %s. The run goes on; make room on the disk.", self.failure, kept)
        finally:
            with suppress(OSError):
                partial.unlink()
