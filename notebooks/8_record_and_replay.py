# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. Record your own trainer, and replay it
#
# To find out what GAC does in *your* training, you need the tensors of your steps, and nothing
# else. This notebook writes a recording with a few lines, replays it through the reference, catches
# a trainer that logs a wrong mu, shows the same lines inside TRL's `GRPOTrainer`, and replays the
# real run that ships with the project. It needs neither torch nor TRL: the one cell that trains
# says so in one line where they are missing.

# %%
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import gac_ref
from gac_ref.replay import Comparison, Summary, replay
from simulations.recording import SHIPPED_TRACE

plt.rcParams.update({"figure.figsize": (6.5, 3.2), "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
folder = tempfile.TemporaryDirectory()

# %% [markdown]
# ## Writing a recording
#
# The smallest trainer that there is: a made-up batch a step, and a controller in the loop. What
# matters is `trace.write`: one call a step, with the tensors that the loss used. Log what your
# controller computed, too: at least `mu_raw` and the three statistics next to `mu`, because the
# guards hide so much that mu alone can agree while the statistics are wrong.

# %%
config = gac_ref.GACConfig.decoupled(mu_update_freq=5)


def train(path: Path, steps: int, *, wrong_from: int | None = None) -> None:
    """A pretended training run; from `wrong_from` on it trains with another variant's mu."""
    rng = np.random.default_rng(0)
    state = gac_ref.init(config)
    with gac_ref.TraceWriter(path, source="a pretended trainer") as trace:
        for step in range(steps):
            mask = np.arange(12) < rng.integers(4, 13, size=16)[:, None]
            logprob = -rng.exponential(scale=1.0 / (1.0 + 0.02 * step), size=(16, 12))
            rewards = rng.integers(0, 2, size=16).astype(float)
            is_expert = np.arange(16) >= 8
            groups = np.where(is_expert, np.arange(16), np.arange(16) // 4)
            advantages = gac_ref.group_advantages(rewards, groups, is_expert=is_expert)

            batch = gac_ref.Batch(logprob, mask, advantages, is_expert)
            state, info = gac_ref.update(config, state, batch, step=step)
            logged = {
                name: float(getattr(info, name))
                for name in ("mu", "mu_raw", "sigma_s2", "sigma_r2", "delta_g2")
            }
            if wrong_from is not None and step >= wrong_from:
                logged["mu"] = 0.5 * (logged["mu"] + float(info.prior))  # blended twice
            trace.write(
                step,
                logprob=logprob,
                response_mask=mask,
                advantages=advantages,
                is_expert=is_expert,
                logged=logged,
            )


first = Path(folder.name) / "right"
train(first, 60)
reader = gac_ref.TraceReader(first)
print(f"{len(reader)} steps of {reader.source!r}")
print("a step's file:", next(iter(reader)).files[0].name)
assert len(reader) == 60

# %% [markdown]
# ## Replaying it
#
# `replay` runs the reference over the recorded batches, on a state of its own, and `Comparison`
# holds what was logged against it. Expect no difference: the pretended trainer used the reference
# itself.


# %%
def compare(path: Path) -> Comparison:
    """Hold a recording's log against the reference."""
    comparison = Comparison()
    for row in replay(gac_ref.TraceReader(path), config):
        comparison.add(row)
    return comparison


verdict = compare(first)
print("\n".join(verdict.lines()))
assert verdict.first is None
assert verdict.steps == 60

# %% [markdown]
# Now a trainer with a fault: from step 25 on it blends the prior in a second time. The statistics
# stay right. Expect the comparison to name that step, and `mu` as the first quantity that differs.

# %%
second = Path(folder.name) / "wrong"
train(second, 60, wrong_from=25)
verdict = compare(second)
print("\n".join(verdict.lines()))
assert verdict.first is not None
assert (verdict.first.step, verdict.first.quantity) == (25, "mu")
assert verdict.different == 35  # every step from 25 to 59, and none before

# %% [markdown]
# The first difference has the step and the quantity of the fault, and the statistics before it are
# cleared: the fault is after the closed form.
#
# ## The same in TRL
#
# A `GRPOTrainer` computes its loss in one method, and there everything is at hand. This is the
# skeleton (`simulations/recording/trainer.py` is the whole of it, with its oracle):
#
# ```python
# class HybridTrainer(GRPOTrainer):
#     def _get_per_token_logps_and_entropies(self, *args, **kwargs):
#         result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
#         self.seen_logprob = result[0]                     # [rollouts, T], as the loss uses them
#         return result
#
#     def _compute_loss(self, model, inputs):
#         loss_rl = super()._compute_loss(model, inputs)    # TRL's own, untouched
#         expert_logprob = self.logprob(model, self.next_experts())
#         loss_sft = row_mean_nll(expert_logprob).mean()
#         fields = self.side_by_side(inputs, self.seen_logprob, expert_logprob)   # NumPy, [B, T]
#         batch = gac_ref.Batch(**fields)
#         step = self.state.global_step
#         self.gac, info = gac_ref.update(self.config, self.gac, batch, step=step)
#         mu = float(info.mu)
#         self.trace.write(step, **fields, logged={"mu": mu, "mu_raw": float(info.mu_raw)})
#         return (1.0 - mu) * loss_rl + mu * loss_sft
# ```
#
# Three things are easy to get wrong. TRL shuffles the rows after scoring them, so group numbers and
# rewards must travel along. The log-probabilities are those of *this* forward pass, not the old
# ones. And the arrays handed to the controller should be the arrays written, so that a replay
# computes the same bits.
#
# Where torch and TRL are installed (`pip install -r requirements/record.txt`), the next cell trains
# a tiny model for six steps and records it; elsewhere it says that it does not.

# %%
NEEDED = ("torch", "transformers", "trl")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:
    print(f"not trained here: {', '.join(missing)} not installed; the shipped recording follows")
else:
    live = Path(folder.name) / "live"
    options = "--steps 6 --warm-start-steps 20 --oracle-every 6 --oracle-samples 16 --quiet"
    # A process of its own: it sets torch's global switches.
    subprocess.run(
        [sys.executable, "-m", "simulations.recording", "--out", str(live), *options.split()],
        check=True,
    )
    trained = gac_ref.TraceReader(live)
    fields = gac_ref.GACConfig.from_dict(trained.meta["config"])
    check = Comparison()
    for row in replay(trained, fields):
        check.add(row)
    print("\n".join(check.lines()))
    assert check.steps == 6
    assert check.first is None  # the trainer's own log, to the default tolerance of 1e-9

# %% [markdown]
# ## The shipped recording
#
# 300 steps of the real thing, recorded in the same way. Its settings are in the recording itself.
# Expect the trainer's log and the reference to agree on every quantity: they ran the same code on
# the same arrays.

# %%
shipped = gac_ref.TraceReader(SHIPPED_TRACE)
recorded = gac_ref.GACConfig.from_dict(shipped.meta["config"])
comparison, summary, rows = Comparison(), Summary(), []
for row in replay(shipped, recorded):
    comparison.add(row)
    summary.add(row)
    rows.append(row)
print("\n".join(comparison.lines()))
print("\n".join(summary.lines()))
assert comparison.first is None
assert comparison.steps == len(rows) == 300

# %% [markdown]
# No difference. Now look at the run. This one had a KL-driven $\alpha$: expect the closed form
# (blue) to follow it (green), since the statistics behind it hardly move (notebook 6), and the
# applied weight (black) to be drawn along.

# %%
steps = np.array([row.step for row in rows])
fig, ax = plt.subplots()
ax.plot(steps, [row.mu for row in rows], color="black", linewidth=2.0, label="applied")
ax.plot(steps, [row.mu_raw for row in rows], color=BLUE, label="closed form")
ax.plot(steps, [row.prior for row in rows], color=GREY, linestyle=":", label="prior")
ax.plot(
    steps, [row.alpha for row in rows], color=GREEN, linestyle="--", label=r"$\alpha$, KL-driven"
)
truth = np.array([row.mu_oracle for row in rows])
ax.plot(steps, truth, "o", color=ORANGE, markersize=4, label="closed form on the truth")
ax.set_ylim(0.0, 1.0)
ax.set_xlabel("step")
ax.set_ylabel("weight on SFT")
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
follows = np.corrcoef([row.mu_raw for row in rows], [row.alpha for row in rows])[0, 1]
print(f"correlation of the closed form with alpha: {follows:.2f}")
assert follows > 0.9  # "follows" below: what the recorded run shows

# %% [markdown]
# The closed form follows $\alpha$, which fell as the policy moved away from its reference.
#
# ## What another variant would have done
#
# A recording lets you ask "what if" of the controller: the batches are given, so only the weight
# changes (the training that another weight would have led to is not in it). Expect `released` to
# follow the prior.


# %%
def weights(config: gac_ref.GACConfig) -> np.ndarray:
    """The weight that a configuration would have applied, at every recorded step."""
    return np.array([row.mu for row in replay(gac_ref.TraceReader(SHIPPED_TRACE), config)])


same_prior = {
    name: getattr(recorded, name)
    for name in ("prior_warmup", "prior_decay", "prior_peak", "prior_valley")
}
applied = np.array([row.mu for row in rows])
released = weights(gac_ref.GACConfig.released(**same_prior))
prior = np.array([row.prior for row in rows])
fig, ax = plt.subplots()
ax.plot(steps, applied, color="black", linewidth=2.0, label="as recorded")
ax.plot(steps, released, color=BLUE, linestyle="--", label="released")
ax.plot(steps, prior, color=GREY, linestyle=":", label="prior")
ax.set_ylim(0.0, 1.0)
ax.set_xlabel("step")
ax.set_ylabel("weight on SFT")
_ = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

late = steps >= 100  # once the change cap has let the weight catch up
distance = {name: float(np.abs(w - prior)[late].max()) for name, w in
            (("as recorded", applied), ("released", released))}  # fmt: skip
for name, value in distance.items():
    print(f"{name:12} largest distance from the prior after step 100: {value:.3f}")
# A distance that is plain in the picture: a tenth of the range of mu.
assert distance["released"] < 0.1 < distance["as recorded"]
folder.cleanup()

# %% [markdown]
# The released feedback follows the prior, and the recorded run (`decoupled`) does not.
#
# ## Exercises
#
# **1.** Write the recording of three data-parallel ranks, and replay the merged whole.
#
# <details><summary>Hint</summary>
#
# One `gac_ref.TraceWriter(path, rank=r, ranks=3, source=...)` a rank, each with its own rows.
# `TraceReader` merges them.
#
# </details>
#
# **2.** Cast the log-probabilities to float16 before writing. By how much does mu change in a
# replay?
#
# <details><summary>Hint</summary>
#
# `logprob.astype(np.float16)`. The logged values came from float64, so `Comparison` reports the
# size of the rounding; look at `verdict.largest`.
#
# </details>
#
# **3.** Replay the shipped recording with `--set blend_weight=1.0` on the command line. What
# changes, and what cannot be concluded from it?
#
# <details><summary>Hint</summary>
#
# `gac-ref replay simulations/recording/trace --variant recorded --set blend_weight=1.0`. The
# batches are those of the recorded run: another weight would have led elsewhere.
#
# </details>
#
# ## What was learned
#
# * A recording is one call a step, with the tensors that the loss used and what the controller
#   computed.
# * A replay names the first step and the first quantity that differ.
# * The shipped run's log agrees with the reference at all 300 steps.
# * A recording answers what the controller would have done, and not what the training would have
#   become.
