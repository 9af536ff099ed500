"""The torch port against the reference, and what a trainer relies on besides the numbers."""

from __future__ import annotations

import doctest
import importlib
import io
import math
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gac_ref
from gac_ref import GACConfig, GACError
from gac_ref.conformance.formats import narrow
from gac_ref.conformance.reference import Reference

torch = pytest.importorskip("torch", reason="the torch port needs torch")

from _torch_batches import DTYPES, TOLERANCE, some_batch  # noqa: E402

import gac_ref.ports.torch as port_package  # noqa: E402
from gac_ref.ports.torch import (  # noqa: E402
    Batch,
    GACState,
    adapter,
    hybrid_loss,
    init,
    load_state_dict,
    state_dict,
    update,
)
from gac_ref.ports.torch.batch import require_batch  # noqa: E402
from gac_ref.ports.torch.tokens import row_table  # noqa: E402

ROOT = Path(gac_ref.__file__).parents[1]

AXES: dict[str, list[Any]] = {
    "use_phi": [True, False],
    "coefficient_normalization": ["zscore", "none"],
    "disagreement_rows": ["rollouts", "all"],
    "weight_ema": ["applied", "internal", "off"],
    "missing_branch": ["hold", "zero"],
    "unseen_statistic": ["hold", "unit"],
    "masking": ["select", "multiply"],
    "flat_risk": ["alpha", "zero"],
    "alpha_mode": ["static", "kl"],
    "prior": ["warmup_cosine", "none"],
    "delta_g2_cap_ratio": [0.0, 0.3],
    "mu_update_freq": [1, 2],
    "mask_eps": [1e-8, 0.5],
    "trim_ratio": [0.0, 0.1, 0.3],
}


def some_config(rng: np.random.Generator) -> GACConfig:
    chosen = {name: values[rng.integers(len(values))] for name, values in AXES.items()}
    return GACConfig(
        **chosen, ema_beta=0.5, mu_change_cap=0.2, prior_warmup=3, prior_decay=5, init_mu=0.4
    )


def some_inputs(rng: np.random.Generator, config: GACConfig, dtype: str) -> dict[str, Any]:
    rows, width = int(rng.integers(0, 12)), int(rng.integers(1, 9))
    mask = rng.random((rows, width)) < 0.7
    mask[:, 0] |= rng.random(rows) < 0.9
    logprob, reference = (-rng.exponential(size=(2, rows, width))).copy()
    if config.masking == "select" or rng.random() < 0.2:
        logprob[~mask] = rng.choice([np.nan, -np.inf, np.inf, 7.0], size=(~mask).sum())
        reference[~mask] = np.nan
    advantages = rng.normal(0.3, 1.0, size=(rows, width) if rng.random() < 0.5 else (rows,))
    return {
        "logprob": narrow(logprob, dtype),
        "response_mask": mask,
        "advantages": narrow(advantages, dtype),
        "is_expert": rng.random(rows) < rng.choice([0.0, 0.3, 0.5, 1.0]),
        "ref_logprob": narrow(reference, dtype),
    }


def one_step(batch: Batch, config: GACConfig | None = None, **options: Any) -> Any:
    config = config or GACConfig(alpha_mode="kl", disagreement_rows="all")
    return update(config, init(config), batch, step=0, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
def test_trajectories_agree_with_the_estimator_on_every_axis(dtype: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(dtype), ord(dtype[0])])
    for _ in range(4):
        config = some_config(rng)
        ports = Reference(), adapter()
        for port in ports:
            port.configure(config.to_dict(), dtype=dtype, device="cpu")
        for step in range(4):
            inputs = {**some_inputs(rng, config, dtype), "step": step}
            golden, ours = (port.run("trajectory", inputs) for port in ports)
            assert golden.keys() == ours.keys()
            for name, value in golden.items():
                expected, got = np.asarray(value, float), np.asarray(ours[name], float)
                if name in ("c_s", "c_r"):
                    expected, got = (
                        np.where(inputs["response_mask"], x, 0) for x in (expected, got)
                    )
                np.testing.assert_allclose(
                    got, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=name
                )


def test_the_whole_pack_passes() -> None:
    from gac_ref.conformance.check import run_check

    report = run_check(adapter(), dtype="bf16")
    assert report.verdict == "ok", report.headline
    assert report.unsupported == report.skipped == 0


def test_no_graph_is_kept_and_none_is_harmed() -> None:
    logprob = some_batch().logprob.requires_grad_()
    loss = (logprob * logprob).sum()
    state, info = one_step(some_batch()._replace(logprob=logprob))
    assert info.sequences is not None
    assert not any(x.requires_grad for x in info.sequences if isinstance(x, torch.Tensor))
    assert isinstance(state.mu, float)
    loss.backward()  # fails where a saved tensor was changed in place
    torch.testing.assert_close(logprob.grad, 2.0 * logprob.detach(), rtol=0.0, atol=0.0)


def test_a_given_kl_arrives_to_the_bit() -> None:
    tensor = torch.tensor(0.031, dtype=torch.float64, requires_grad=True)
    for kl in (0.031, tensor, tensor[None]):
        assert one_step(some_batch(kl=kl))[1].kl == 0.031


def test_inference_mode_gives_the_same_bits() -> None:
    outside = one_step(some_batch())[0]
    with torch.inference_mode():
        assert one_step(some_batch())[0] == outside


def test_no_input_is_changed() -> None:
    batch = some_batch()
    tensors = [x for x in batch if isinstance(x, torch.Tensor)]
    before = [(x.clone(), x._version) for x in tensors]
    for name in gac_ref.VARIANTS:
        one_step(batch, GACConfig.variant(name, alpha_mode="kl"))
    for tensor, (copy, version) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, copy)
        assert tensor._version == version


def test_the_same_bits_twice() -> None:
    batch = some_batch(rows=300, width=700)
    assert one_step(batch)[0] == one_step(batch)[0]


@pytest.mark.parametrize("mask_dtype", [torch.int64, torch.float32, torch.bfloat16, torch.uint8])
def test_mask_dtype_and_memory_layout_do_not_show(mask_dtype: Any) -> None:
    batch = some_batch()

    def transposed(x: Any) -> Any:
        return x.t().contiguous().t() if isinstance(x, torch.Tensor) and x.ndim == 2 else x

    other = Batch(*(transposed(x) for x in batch))
    other = other._replace(
        response_mask=other.response_mask.to(mask_dtype), is_expert=other.is_expert.to(mask_dtype)
    )
    assert not other.logprob.is_contiguous()
    assert one_step(other)[0] == one_step(batch)[0]


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e30])
def test_what_lies_in_the_padding_does_not_show(garbage: float) -> None:
    batch = some_batch()
    outside = ~batch.response_mask
    other = batch._replace(
        logprob=batch.logprob.masked_fill(outside, garbage),
        advantages=batch.advantages.masked_fill(outside, garbage),
        ref_logprob=batch.ref_logprob.masked_fill(outside, garbage),
    )
    assert one_step(other)[0] == one_step(batch)[0]
    # Multiplied, as released, it does (and e**1e30 is an infinity, too).
    assert math.isnan(one_step(other, GACConfig.released())[0].mu)


@pytest.mark.parametrize("variant", gac_ref.VARIANTS)
@pytest.mark.parametrize(("rows", "width"), [(0, 4), (3, 0), (0, 0)])
def test_a_batch_of_nothing_is_answered(variant: str, rows: int, width: int) -> None:
    config = GACConfig.variant(variant, alpha_mode="kl")
    batch = Batch(
        torch.zeros(rows, width),
        torch.ones(rows, width),
        torch.zeros(rows),
        torch.arange(rows) == 0,
        ref_logprob=torch.zeros(rows, width),
    )
    golden = gac_ref.Batch(*(x.numpy() for x in batch[:4]), ref_logprob=batch.ref_logprob.numpy())
    expected, _ = gac_ref.update(config, gac_ref.init(config), golden, step=0)
    state, info = update(config, init(config), batch, step=0)
    assert state.mu == float(expected.mu)
    assert state.count_s == int(expected.count_s)
    assert info.sequences.nll.shape == (rows,)


@pytest.mark.parametrize("value", [-0.7, -3.1e-3, -8.9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_stream_is_seen_whatever_the_row_length(dtype: str, value: float) -> None:
    for rows, width in ((1, 1), (3, 5), (7, 33), (2, 1023)):
        batch = some_batch(rows=rows, width=width)
        batch = batch._replace(
            logprob=torch.full((rows, width), value, dtype=DTYPES[dtype]),
            advantages=torch.full((rows,), 0.1, dtype=DTYPES[dtype]),
            is_expert=torch.zeros(rows, dtype=torch.bool),
        )
        seen = one_step(batch, GACConfig())[1].sequences
        assert seen.sft_stream_constant
        assert seen.rl_stream_constant
        assert not seen.disagreement.any()


def test_small_spreads_on_large_means_keep_their_digits_in_float32() -> None:
    rng = np.random.default_rng(4)
    advantages = np.float32(1000.0 + rng.integers(0, 8, size=(6, 64)) * 2.0**-13)
    logprob = np.float32(-rng.exponential(size=(6, 64)))
    ones, rollouts = np.ones((6, 64), bool), np.zeros(6, bool)
    batch = Batch(*(torch.from_numpy(x) for x in (logprob, ones, advantages, rollouts)))
    golden = gac_ref.proxies(GACConfig(), gac_ref.Batch(logprob, ones, advantages, rollouts))
    ours = one_step(batch, GACConfig())[1].proxies
    assert ours.delta_g2 == pytest.approx(golden.delta_g2, rel=TOLERANCE["fp32"])
    # The row means differ by 1e-4 on 1000; mask_eps alone moves the means by 1e-8 of that.
    assert ours.sigma_r2 == pytest.approx(golden.sigma_r2, rel=1e-3)


class _Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts what would wait for an accelerator: values read, and shapes that depend on values."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "item")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        masks = name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1])
        if name in self.waiting or masks:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_the_token_pass_and_the_loss_never_wait_for_the_device() -> None:
    batch = some_batch()
    with _Waits() as waits:
        for name in gac_ref.VARIANTS:
            row_table(GACConfig.variant(name, alpha_mode="kl"), require_batch(batch))
        leaf = batch.logprob.clone().requires_grad_()
        loss = hybrid_loss(
            leaf,
            batch.response_mask,
            batch.is_expert,
            0.3,
            old_logprob=batch.ref_logprob,
            advantages=batch.advantages,
            sft="phi",
            rl_aggregation="seq_mean_token_mean",
            sft_normalizer=40.0,
        )
        loss.value.backward()
    assert waits.seen == []
    with _Waits() as waits:
        bool(leaf.sum() > 0)
    assert waits.seen  # the counter counts


BAD = {
    "logprob[1, 0] = 0.25 is above 0": {"logprob": lambda x: _put(x, 0.25)},
    "logprob[1, 0] = nan is not finite": {"logprob": lambda x: _put(x, math.nan)},
    "logprob[1, 0] = -inf is not finite": {"logprob": lambda x: _put(x, -math.inf)},
    "advantages[1, 0] = nan is not finite": {"advantages": lambda x: _put(x, math.nan)},
    "response_mask[1, 0] = 2.0 is neither 0 nor 1": {"response_mask": lambda x: _put(x.float(), 2)},
    "ref_logprob[1, 0] = inf is not finite": {"ref_logprob": lambda x: _put(x, math.inf)},
    "logprob has shape (12,)": {"logprob": lambda x: x[:, 0]},
    "logprob has dtype torch.int64": {"logprob": lambda x: x.long()},
    "logprob is a list": {"logprob": lambda x: x.tolist()},
    "response_mask has shape (12, 6)": {"response_mask": lambda x: x[:, :6]},
    "advantages has shape (7,)": {"advantages": lambda x: x[0]},
    "is_expert has shape (12, 1)": {"is_expert": lambda x: x[:, None]},
    "is_expert is on meta": {"is_expert": lambda x: x.to("meta")},
    "neither kl nor ref_logprob": {"ref_logprob": lambda x: None},
    "kl = nan on rank 0 is not finite": {"kl": lambda _: math.nan},
    "kl = (2,) is not one number": {"kl": lambda _: torch.zeros(2)},
}


def _put(tensor: Any, value: float) -> Any:
    tensor = tensor.clone()
    tensor[1, 0] = value
    return tensor


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("masking", ["select", "multiply"])
def test_malformed_batches_are_refused_in_one_line(message: str, masking: str) -> None:
    batch = some_batch()
    changed = {name: change(getattr(batch, name)) for name, change in BAD[message].items()}
    config = GACConfig(alpha_mode="kl", masking=masking)
    with pytest.raises(GACError) as refusal:
        one_step(batch._replace(**changed), config)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "step = -1 is negative"),
        ({"step": 1.5}, "step = 1.5 is not a whole number"),
        ({"step": 3}, "step = 3 is before the last refresh at step 5"),
        ({"config": {}}, "config is a dict"),
        ({"state": None}, "state is a NoneType"),
        ({"max_rows": 0}, "max_rows = 0"),
        ({"batch": ()}, "batch is a tuple"),
    ],
)
def test_malformed_calls_are_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "config": GACConfig(mu_update_freq=1),
        "state": GACState(0.5, 0.5, 0.5, last_refresh=5),
        "batch": some_batch(),
        "step": 6,
        **changes,
    }
    positional = [given.pop(name) for name in ("config", "state", "batch")]
    with pytest.raises(GACError, match=message):
        update(*positional, **given)


def test_a_state_goes_through_a_checkpoint() -> None:
    state, _ = one_step(some_batch())
    file = io.BytesIO()
    torch.save(state_dict(state), file)
    file.seek(0)
    assert load_state_dict(torch.load(file, weights_only=True)) == state
    with pytest.raises(GACError, match=r"count_s = 1\.5 is not a whole number"):
        load_state_dict({**state_dict(state), "count_s": 1.5})
    with pytest.raises(GACError, match="unknown state field 'nu'"):
        load_state_dict({**state_dict(state), "nu": 1.0})


def test_the_package_imports_torch_only_when_used() -> None:
    code = (
        "import sys, gac_ref, gac_ref.ports.torch as port; assert 'torch' not in sys.modules; "
        "port.update; assert 'torch' in sys.modules; print(sorted(dir(port)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "'hybrid_loss'" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        port_package.nothing  # noqa: B018


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(port_package.__path__)])
def test_the_examples_of_the_documentation_run(name: str) -> None:
    module = importlib.import_module(f"gac_ref.ports.torch.{name}")
    assert doctest.testmod(module).failed == 0


def test_the_adapter_declines_what_it_cannot_do() -> None:
    from gac_ref.conformance.port import Unsupported

    for dtype, device in (("fp8", "cpu"), ("fp32", "no such device"), ("fp32", "hpu")):
        with pytest.raises(Unsupported):
            adapter().configure({}, dtype=dtype, device=device)
    with pytest.raises(Unsupported):
        adapter().run("no such stage", {})


def test_each_planted_fault_changes_one_place_of_the_source() -> None:
    from gac_ref.conformance.power.planted import changed, sources
    from gac_ref.conformance.power.torch_faults import FAULTS, PLANT

    texts = sources(PLANT)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert changed(fault, texts[fault.file]) != texts[fault.file]
        assert compile(changed(fault, texts[fault.file]), fault.file, "exec")
