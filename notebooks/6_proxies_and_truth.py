# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Do the proxies see the truth?
#
# GAC steers by stand-ins for three quantities of gradients: the noise of either branch, and their
# disagreement. The paper reports a correlation of about 0.84 between the disagreement proxy and the
# true one. The recording that comes with this project is a real training run (a small Llama, TRL's
# GRPO, an SFT loss, column addition) in which the truth was measured, too, every ten steps, from
# per-sample gradients of all parameters. So we can look. One run of one small model is one run: it
# can show a failure, and not that things go well elsewhere.

# %%
import matplotlib.pyplot as plt
import numpy as np

import gac_ref
from simulations.analysis.statistics import pearson
from simulations.recording import SHIPPED_TRACE

plt.rcParams.update({"figure.figsize": (5.5, 3.2), "figure.constrained_layout.use": True})
BLUE, ORANGE = "#0072B2", "#D55E00"
NAMES = ("sigma_s2", "sigma_r2", "delta_g2")
TICKS = (1, 2, 5, 10, 20)
LABELS = {"sigma_s2": "SFT noise", "sigma_r2": "RL noise", "delta_g2": "disagreement"}
UNITS = {"sigma_s2": "nats$^2$", "sigma_r2": "advantage$^2$", "delta_g2": "coefficient$^2$"}

# %% [markdown]
# ## Read the recording
#
# Every step holds the batch as the trainer saw it. We compute the proxies of each, ourselves, and
# keep the truth where it was measured. It takes a few seconds. Expect 30 of 300 steps with a truth.

# %%
config = gac_ref.GACConfig()
steps, known = [], []
proxy = {name: [] for name in NAMES}
truth = {name: [] for name in NAMES}
share = []  # of the groups of rollouts whose rewards differ
for item in gac_ref.TraceReader(SHIPPED_TRACE):
    batch = item.batch
    found = gac_ref.proxies(config, batch)
    steps.append(item.step)
    for name in NAMES:
        proxy[name].append(float(getattr(found, name)))
    groups = batch.group_ids[batch.rollout_rows]
    rewards = batch.rewards[batch.rollout_rows]
    share.append(np.mean([np.ptp(rewards[groups == group]) > 0 for group in np.unique(groups)]))
    if item.oracle:
        known.append(item.step)
        for name in NAMES:
            truth[name].append(item.oracle[name])
proxy = {name: np.array(values) for name, values in proxy.items()}
truth = {name: np.array(values) for name, values in truth.items()}
at = np.searchsorted(steps, known)
print(f"{len(steps)} steps, the truth at {len(known)} of them")
assert (len(steps), len(known)) == (300, 30)

# %% [markdown]
# ## Look first
#
# Before any statistic, look at both over the run: the proxy at every step (blue, left axis) and the
# truth where it is known (orange, right axis, logarithmic). If a proxy is good, expect the blue
# line to follow the orange dots up and down.

# %%
fig, axes = plt.subplots(3, 1, figsize=(6.5, 5.6), sharex=True)
for ax, name in zip(axes, NAMES, strict=True):
    ax.plot(steps, proxy[name], color=BLUE, linewidth=0.8)
    ax.set_ylabel(f"{LABELS[name]},\nproxy ({UNITS[name]})", color=BLUE)
    ax.margins(x=0.01)
    other = ax.twinx()
    other.plot(known, truth[name], "o--", color=ORANGE, markersize=4, linewidth=0.8)
    other.set_yscale("log")
    other.set_yticks(TICKS, [str(tick) for tick in TICKS])
    other.minorticks_off()
    other.set_ylim(0.9 * truth[name].min(), 1.1 * truth[name].max())
    other.set_ylabel("truth\n(gradient$^2$)", color=ORANGE)
_ = axes[-1].set_xlabel("step")

# %%
ranges = {name: (truth[name].max() / truth[name].min()) for name in NAMES}
for name in NAMES:
    print(f"{LABELS[name]:13} the truth spans a factor of {ranges[name]:.0f}")
# The text below: factors of at least 3, 10 and 10, and the disagreement proxy within 1.5.
assert ranges["sigma_s2"] > 3.0
assert min(ranges["sigma_r2"], ranges["delta_g2"]) > 10.0
assert proxy["delta_g2"].max() / proxy["delta_g2"].min() < 1.5
assert 1.8 < proxy["delta_g2"].mean() < 2.2  # "around 2"

# %% [markdown]
# The true RL noise and disagreement each move by more than a factor of ten over the run, the true
# SFT noise by more than three. The disagreement proxy stays within a factor of 1.5: it is
# normalised, and hovers around 2, the value of two unrelated streams (see notebook 2).
#
# ## Correlation, with honest intervals
#
# Now the number that the paper reports. Thirty pairs give a wide interval, and the points of a run
# are not independent, so the true interval is wider still. Whether the claimed 0.84 is *inside* is
# the question; expect what the pictures suggest. (The axes of the truth are logarithmic; the
# correlation is of the values.)

# %%
correlation = {}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 3.0))
for ax, name in zip(axes, NAMES, strict=True):
    correlation[name] = pearson(proxy[name][at], truth[name])
    ax.plot(truth[name], proxy[name][at], "o", color=BLUE, markersize=4)
    ax.set_xscale("log")
    ax.set_xticks(TICKS, [str(tick) for tick in TICKS])
    ax.minorticks_off()
    ax.set_xlim(0.85 * truth[name].min(), 1.15 * truth[name].max())
    r = correlation[name]
    ax.set_title(f"r = {r.value:.2f} [{r.low:.2f}, {r.high:.2f}]", fontsize=10)
    ax.set_xlabel(f"true {LABELS[name]}\n(gradient$^2$)")
    ax.set_ylabel(f"proxy ({UNITS[name]})")
for name, r in correlation.items():
    print(f"{LABELS[name]:13} r = {r.value:+.2f}, 95 % interval [{r.low:+.2f}, {r.high:+.2f}]")

# %%
# Not one interval reaches the claim, and only the RL noise is positive at all.
assert max(r.high for r in correlation.values()) < 0.84
assert correlation["delta_g2"].value < 0.0
assert correlation["sigma_s2"].value < 0.0 < correlation["sigma_r2"].value
assert correlation["sigma_r2"].low < 0.0  # and its interval contains 0

# %% [markdown]
# On this run no proxy's interval reaches 0.84. The disagreement and the SFT noise correlate
# *negatively* with what they stand for, and the interval of the RL noise contains zero.
#
# ## Is a negative correlation a finding?
#
# Both series drift as training goes on, and any two drifting series correlate. A test that respects
# this: shift one series against the other, around the end, by every possible amount. A shift keeps
# each series' own ups and downs, and breaks the pairing. Where the pairing
# adds nothing, expect about half of the shifts to do as well.

# %%
for name in NAMES:
    values, target = proxy[name][at], truth[name]
    here = abs(np.corrcoef(values, target)[0, 1])
    shifted = [
        abs(np.corrcoef(values, np.roll(target, shift))[0, 1]) for shift in range(1, len(known))
    ]
    as_strong = float(np.mean(np.array(shifted) >= here))
    print(f"{LABELS[name]:13} {as_strong:.0%} of the shifts correlate at least as strongly")
    # With 29 shifts a share is coarse to a thirtieth; "few" below means at most a fifth.
    assert as_strong <= 0.2

few = np.argsort(truth["delta_g2"])[:-2]  # all but the two largest
without = pearson(proxy["delta_g2"][at][few], truth["delta_g2"][few])
print(f"disagreement without its two largest truths: r = {without.value:+.2f} ", end="")
print(f"[{without.low:+.2f}, {without.high:+.2f}]")
assert without.low < 0.0 < without.high < 0.84  # as the text below says

# %% [markdown]
# Few shifts do as well, though with 29 of them the test is coarse. But look at the scatter of the
# disagreement again: two points on the right carry its correlation. Without them the interval
# contains zero, and still not 0.84. The careful reading is "no sign of a positive relation", and
# not "a negative one".
#
# ## What the RL noise proxy really measures
#
# Notebook 2 showed that group-normalised advantages fix `sigma_r2`: in a group of $G$ with any
# spread, the variance is $(G-1)/G$, else 0. If so, the proxy is the *share of groups with spread*,
# times 7/8 for groups of eight. Expect the points on the line, without any fit.

# %%
share = np.array(share)
line = 7.0 / 8.0 * share
fig, ax = plt.subplots()
jitter = np.random.default_rng(0).normal(scale=0.004, size=share.size)
ax.plot(share + jitter, proxy["sigma_r2"], "o", color=BLUE, markersize=4, alpha=0.4)
x = np.array([share.min() - 0.05, 1.02])
ax.plot(x, 7.0 / 8.0 * x, color=ORANGE)
ax.annotate(r"$\frac{7}{8} \times$ share", (0.87, 0.71), color=ORANGE)
ax.set_xlabel("share of the groups whose rewards differ (spread out a little)")
_ = ax.set_ylabel("proxy of the RL noise (advantage$^2$)")

# %%
left = proxy["sigma_r2"] - line
unexplained = float(np.sum(left**2) / np.sum((proxy["sigma_r2"] - proxy["sigma_r2"].mean()) ** 2))
print(f"largest distance from the line {np.abs(left).max():.4f}; unexplained {unexplained:.3%}")
# The advantage's 1e-4 beside a small spread, and unequal lengths: no more than 0.5 % of the value.
assert np.abs(left).max() < 0.005
assert unexplained < 0.001

# %% [markdown]
# Less than 0.1 % of its variance is anything else. It counts prompts that are neither solved nor
# hopeless. That may be a useful thing to steer by. It is no estimate of the noise of a gradient.
#
# ## What it does to the weight
#
# Last, the question that matters to a controller: the closed form on the true values against the
# closed form on the proxies. The true values have one unit; the proxies have three. Expect a nearly
# constant weight from the proxies.

# %%
mu_true = gac_ref.closed_form(*(np.maximum(truth[name], 0.0) for name in NAMES))
mu_proxy = gac_ref.closed_form(*(proxy[name][at] for name in NAMES))
fig, ax = plt.subplots()
ax.plot(known, mu_true, "o--", color=ORANGE, markersize=4, label="on the true values")
ax.plot(known, mu_proxy, "s-", color=BLUE, markersize=3, label="on the proxies")
ax.axhline(0.5, color="#7F7F7F", linestyle=":")
ax.annotate(r"$\alpha$", (291, 0.505), color="#7F7F7F")
ax.set_ylim(0.0, 1.0)
ax.set_xlabel("step")
ax.set_ylabel("closed form, weight on SFT")
ax.legend(frameon=False, loc="lower left", ncols=2)
print(f"on the true values: mean {mu_true.mean():.2f}, spread {mu_true.std():.3f}")
print(f"on the proxies:     mean {mu_proxy.mean():.2f}, spread {mu_proxy.std():.3f}")

# %%
# The findings below; one run of 30 points, so thresholds are loose on purpose.
assert mu_true.mean() < 0.5 < mu_proxy.mean()
assert mu_proxy.std() < 0.2 * mu_true.std()

# %% [markdown]
# The true values ask for less SFT than $\alpha$ on average, the proxies for more, and theirs hardly
# moves.
#
# ## Exercises
#
# **1.** Read the disagreement as the released code does. Does it follow the truth better?
#
# <details><summary>Hint</summary>
#
# `gac_ref.GACConfig.released()` in place of `config`. Without normalisation it contains the mean
# square of the advantages: compare it with the share of groups before you cheer.
#
# </details>
#
# **2.** Destroy the information: permute the advantages among the rollouts of each batch. Which
# proxy notices?
#
# <details><summary>Hint</summary>
#
# Build a new `gac_ref.Batch` with permuted rows of `advantages`. A variance does not depend on the
# order. If a proxy correlates as well after the permutation as before, the pairing of token and
# advantage told it nothing.
#
# </details>
#
# **3.** Multiply each proxy by the one constant that makes its mean equal to the mean of its truth.
# How close does the weight get?
#
# <details><summary>Hint</summary>
#
# `scale = truth[name].mean() / proxy[name][at].mean()`. The mean of the weight improves, since the
# units are now right. Its movement cannot.
#
# </details>
#
# ## What was learned
#
# * On this run the proxies do not follow the quantities that they stand for; the claimed 0.84 is
#   not seen.
# * The RL noise proxy is the share of groups with spread, and practically nothing else.
# * Points along a run are not independent: intervals are too narrow, and trends correlate by
#   themselves.
# * The raw weight from proxies is nearly constant here, on the other side of $\alpha$ than the
#   truth.
