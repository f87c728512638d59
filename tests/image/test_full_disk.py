from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# A limit on the size of files plays the full disk. In a child: a process cannot raise its limit again.
CHILD = """
import json, resource, signal, sys
import numpy as np
from mematte.image import write_cutout, write_picture

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
colors = np.random.default_rng(0).random((200, 150, 3), dtype=np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
said = {}
for suffix in (".png", ".tif", ".exr", ".webp", ".jxl", ".jpg"):
    try:
        if suffix == ".jpg":
            write_picture("old" + suffix, colors, force=True)
        else:
            write_cutout("old" + suffix, colors, colors[..., 0], force=True)
    except Exception as error:
        said[suffix] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.mark.skipif(
    sys.platform == "win32", reason="needs a limit on file sizes, which Windows does not have"
)
@pytest.mark.parametrize("limit_bytes", [0, 50, 20_000])
def test_a_disk_that_fills_up_is_an_error_and_leaves_everything_as_it_was(
    tmp_path: Path, limit_bytes: int
) -> None:
    suffixes = [".png", ".tif", ".exr", ".webp", ".jxl", ".jpg"]
    for suffix in suffixes:
        (tmp_path / f"old{suffix}").write_bytes(b"what was here before")

    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(limit_bytes)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    said = json.loads(child.stdout)
    assert list(said) == suffixes
    for suffix, message in said.items():
        assert message.startswith(f"OutputError: old{suffix} was not written, nothing is left behind: ")
    assert child.stderr == ""
    assert {entry.name for entry in tmp_path.iterdir()} == {f"old{suffix}" for suffix in suffixes}
    assert all(entry.read_bytes() == b"what was here before" for entry in tmp_path.iterdir())
