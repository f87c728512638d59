"""Matte a photograph with ONNX Runtime alone; mematte itself is not needed.

    mematte export --onnx tiny.onnx          # once, where mematte is installed
    python onnx_matte.py tiny.onnx photo.jpg trimap.png alpha.png [MAX_GLOBAL_TOKENS]

Needs: pip install onnxruntime opencv-python-headless
"""

import sys

import cv2
import numpy as np
import onnxruntime


def matte(session, photo, trimap, max_global_tokens=18_500):
    """(H, W, 3) uint8 RGB and (H, W) uint8 trimap -> (H, W) float32 alpha in [0, 1]."""
    (height, width), about = trimap.shape, session.get_modelmeta().custom_metadata_map
    if photo.shape[:2] != trimap.shape:
        sys.exit(f"The photo is {photo.shape[1]}x{photo.shape[0]} px, its trimap {width}x{height} px.")
    # Small pictures come out finer when the network is shown them at twice their size.
    times = 2 if height * width < int(about["enlarge_below"]) else 1
    size = (times * width, times * height)
    shown = cv2.resize(photo / np.float32(255), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    feeds = {
        "image": shown.transpose(2, 0, 1)[None],
        "trimap": trimap.repeat(times, 0).repeat(times, 1)[None, None].astype(np.float32) / 255,
    }
    if any(one.name == "max_global_tokens" for one in session.get_inputs()):
        feeds["max_global_tokens"] = np.asarray(max_global_tokens, np.int64)  # fewer take less time
    (alpha,) = session.run(["alpha"], feeds)
    return alpha.reshape(height, times, width, times).mean(axis=(1, 3))


if __name__ == "__main__":
    network, photo_file, trimap_file, alpha_file, *cap = sys.argv[1:]
    photo = cv2.cvtColor(cv2.imread(photo_file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    trimap = cv2.imread(trimap_file, cv2.IMREAD_GRAYSCALE)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    alpha = matte(session, photo, trimap, *map(int, cap))
    cv2.imwrite(alpha_file, np.round(alpha * 255).astype(np.uint8))
