"""The host does not wait for the device within an inner loop: looked for without a GPU, on the device "meta".

A tensor on "meta" has a shape and no values, so whoever reads one, or copies it to the host, fails there; and code that reads
values on a CPU only, as the checks of arguments do, goes the way it goes on a GPU. What "meta" would let pass is noted by
name. A GPU, where there is one, is asked itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from companion.foundations.diffusion import time_grid
from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.last_layer import deep_iv
from companion.methods.mmd_flow import FeatureMLP, NoiseConditionalWitness, adaptive_flow, kale_flow
from companion.methods.rivals.feedback_guidance import sample_feedback
from companion.methods.soft_reset import BayesianSoftReset
from tests.loops import LOOPS, MANY, never_waiting

# Operations whose answer the host needs before it can go on: values, or how many of them there are. `multinomial` and the
# checks of torch.linalg look at values inside.
WAITING = {
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "multinomial",
    "nonzero",
    "repeat_interleave.Tensor",
    "unique_consecutive",
    "unique_dim",
}
OF_THE_HOST = {"cpu", "numpy", "tolist", "__array__"}


class _Operations(TorchDispatchMode):
    """Notes operations that wait, of tensors on the device, and copies between device and host."""

    def __init__(self, device: str, found: list[str]) -> None:
        super().__init__()
        self.device, self.found = device, found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        name = str(func).removeprefix("aten.").removesuffix(".default")
        if any(each.device.type == self.device for each in given):
            masks = name.startswith("index") and any(each.dtype in (torch.bool, torch.uint8) for each in given[1:])
            if name in WAITING or name.split(".")[0] in WAITING:
                self.found.append(name)
            elif masks:
                self.found.append(f"{name} by a mask")
        if name in ("_to_copy", "copy_"):
            source, ends = given[-1].device.type, torch.device(kwargs.get("device") or given[0].device).type
            if source != ends:
                self.found.append(f"copy from {source} to {ends}")
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    """Notes methods that bring values to the host, and tensors that the host makes on the device."""

    def __init__(self, device: str, found: list[str]) -> None:
        super().__init__()
        self.device, self.found = device, found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, where = getattr(func, "__name__", ""), kwargs.get("device")
        if name in OF_THE_HOST and args[0].device.type == self.device:
            self.found.append(name)
        sent = name in ("tensor", "as_tensor") and where is not None and not isinstance(args[0], torch.Tensor)
        if sent and torch.device(where).type == self.device:
            self.found.append(f"copy from cpu to {self.device}")
        return func(*args, **kwargs)


@contextmanager
def watched(device: str) -> Iterator[list[str]]:
    """The list of what the host waited for, or sent, within the block."""
    found: list[str] = []
    with _Methods(device, found), _Operations(device, found):
        yield found


@pytest.fixture
def unread(monkeypatch):
    """What is read between two states or two tasks, and not within, is left out: the status of solves; how many batches a
    batch norm has seen, which torch reads when a trial's statistics are taken anew."""
    for module in ("companion.methods.last_layer", "companion.foundations.online"):
        monkeypatch.setattr(f"{module}.require_solved", lambda status: None)
    monkeypatch.setattr("companion.methods.nevis.calibrate", lambda *given: 0.0)


def waits_of(step: Callable[[], Any]) -> list[str]:
    for _ in range(2):  # what a first step sets up may wait
        step()
    with watched("meta") as found:
        step()
    return found


@pytest.mark.parametrize("name", LOOPS)
def test_an_inner_loop_does_not_wait(name, unread):
    loop = LOOPS[name]
    assert waits_of(loop.make("meta", **loop.small).step) == ["copy from cpu to meta"] * loop.uploads


def witness_flow(flow: Callable[..., Iterator[Any]]) -> Callable[[], Any]:
    witness = NoiseConditionalWitness(FeatureMLP(2, 8, 16)).to("meta")
    cloud, levels = torch.empty(20, 2, device="meta"), witness.noising.levels(9)
    return partial(next, flow(witness, cloud, levels, 0.1, 1, data=cloud))


def two_stages() -> Callable[[], Any]:
    phi, psi = (torch.nn.Sequential(torch.nn.Linear(width, 6), torch.nn.Tanh()).to("meta") for width in (2, 1))
    z, x = torch.empty(40, 2, device="meta"), torch.empty(40, 1, device="meta")
    return partial(next, deep_iv(phi, psi, (z, x), (z, x), MANY, batch_size=8, every=2))


def bayesian() -> Callable[[], Any]:
    model = StackedMLP(1, 3, 4, 8).to("meta")
    settings = {name: torch.empty(1, device="meta") for name in ("std_lr", "temperature")}
    trainer = BayesianSoftReset(model, *[torch.empty(1, device="meta") for _ in range(4)], runs=1, **settings)
    batch = torch.empty(1, 5, 3, device="meta"), torch.zeros(1, 5, dtype=torch.long, device="meta")
    return lambda: trainer.step(cross_entropy, batch)


def guided_by_feedback() -> Callable[[], Any]:
    x, labels = torch.empty(4, 2, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    walk = sample_feedback(
        lambda x, t, labels: x / 2,
        lambda x, t: x * t,
        lambda x, s, labels: x[:, 0] * s,
        (0, 1),
        labels,
        x,
        time_grid(9),
    )
    return partial(next, walk)


RELATIVES = {
    "a flow of a witness": partial(witness_flow, adaptive_flow),
    "a flow down KALE": partial(witness_flow, kale_flow),
    "guidance by feedback": guided_by_feedback,
    "two stages": two_stages,
    "a Bayesian soft reset": bayesian,
}


@pytest.mark.parametrize("make", RELATIVES.values(), ids=RELATIVES.keys())
def test_its_relatives_do_not_wait_either(make, unread):
    assert waits_of(make()) == []


@pytest.mark.parametrize("name", LOOPS)
def test_an_inner_loop_runs_and_moves(name):
    """On the CPU, so that a loop on "meta" is a loop that works."""
    loop = LOOPS[name]
    work = loop.make("cpu", **loop.small)
    assert work.step() is not None or name == "pruned"
    work.step()
    assert work.bytes > 0


WAITS = {
    "item": lambda x: x.sum().item(),
    "a number": lambda x: float(x.sum()),
    "a condition": lambda x: bool((x > 0).all()),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "a list": lambda x: x.tolist(),
    "an array": lambda x: x.detach().numpy(),
    "to the host": lambda x: x.to("cpu"),
    "cpu": lambda x: x.cpu(),
    "from the host": lambda x: torch.zeros(3).to(x.device),
    "a number sent": lambda x: torch.as_tensor(0.5, device=x.device),
    "a checked solve": lambda x: torch.linalg.inv(torch.outer(x, x)),
    "a draw": lambda x: torch.multinomial(x, 1),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_a_wait_is_found(wait):
    x = torch.ones(3, device="meta")
    with watched("meta") as found, suppress(RuntimeError, TypeError):  # "meta" has no values
        wait(x)
    assert len(found) >= 1


def test_what_only_looks_like_a_wait_is_not_taken_for_one():
    x, places = torch.ones(3, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    with watched("meta") as found:
        torch.where(x > 0, x, 0.0).masked_fill_(x < 0, 1.0)[places].sum()
        torch.ones(3).sum().item()  # of the host's own
    assert found == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", LOOPS)
def test_an_inner_loop_does_not_wait_on_a_gpu(name, unread):
    loop = LOOPS[name]
    step = loop.make("cuda", **loop.small).step
    for _ in range(3):
        step()
    with never_waiting():
        step()
