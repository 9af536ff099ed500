# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. The guard stack and its authority
#
# A raw estimate from one batch is too jumpy to train with, so GAC puts guards around it: a moving
# average, a blend with a schedule, a cap on the change, bounds. Each is sensible alone. This
# notebook measures what they do *together*: how much of the estimate reaches the weight that is
# applied.

# %%
import matplotlib.pyplot as plt
import numpy as np

import gac_ref
from simulations.analysis.authority.decomposition import decompose
from simulations.analysis.authority.figures import draw_contributions, draw_gain_map
from simulations.analysis.authority.guarded_run import run_proxies
from simulations.analysis.authority.linear import gain_map

plt.rcParams.update({"figure.figsize": (5.5, 3.2), "figure.constrained_layout.use": True})
ORANGE = "#D55E00"

# %% [markdown]
# ## One step, guard by guard
#
# From the raw estimate to the applied weight:
#
# $$\begin{aligned}
# \mu_{ada} &= \beta\, \mu_{t-1} + (1 - \beta)\, \mu_{raw} &&\text{(weight EMA)} \\
# \mu_{cand} &= (1 - \lambda)\, \mathrm{prior}(t) + \lambda\, \mu_{ada} &&\text{(prior blend)} \\
# \mu_t &= \mathrm{clip}\bigl(\mu_{t-1} + \mathrm{clip}(\mu_{cand} - \mu_{t-1}, -c, c)\bigr)
#   &&\text{(change cap, bounds)}
# \end{aligned}$$
#
# The detail to look at is $\mu_{t-1}$ in the first line: the weight *applied* last, after all
# guards. The defaults are $\beta = 0.99$, $\lambda = 0.5$ and $c = 0.01$. Before computing
# anything, guess: if the raw estimate rises by 1 and stays there for ever, how far does $\mu$ rise?

# %%
default = gac_ref.GACConfig()
found = gac_ref.authority(default)
print(f"authority of the estimate: {found.weight:.4f}")
print(f"weight of the prior:       {found.prior_weight:.4f}")
print(f"settles in {found.settling_steps} steps; can the cap act? {found.cap_can_bind}")
by_hand = 0.5 * (1.0 - 0.99) / (1.0 - 0.5 * 0.99)
assert abs(found.weight - by_hand) < 1e-15  # the same four operations, up to their rounding
assert round(found.weight, 4) == 0.0099  # as the text below gives it

# %% [markdown]
# 0.0099: one per cent. Where does it come from? Put the first line into the second, with cap and
# bounds at rest:
#
# $$\mu_t = \underbrace{\lambda\beta}_{0.495}\,\mu_{t-1}
#   + \underbrace{(1 - \lambda)}_{0.5}\,\mathrm{prior}(t)
#   + \underbrace{\lambda(1 - \beta)}_{0.005}\,\mu_{raw} .$$
#
# A step takes in half a per cent of the estimate, and half of the prior, *again*. And it forgets
# half of what it had. So let the estimate rise by 1, and follow what has arrived: 0.005 at once,
# then 0.495 times that and another 0.005, and so on. Expect the sum to stop near 0.0099 within a
# few steps, far short of the 100 steps that $\beta = 0.99$ seems to promise.

# %%
lam, beta = default.blend_weight, default.ema_beta
arrived = 0.0
print("steps since the rise   share of it in mu")
for count in range(1, found.settling_steps + 1):
    arrived = lam * beta * arrived + lam * (1.0 - beta)
    print(f"{count:20}   {arrived:.5f}")
assert 0.98 * found.weight <= arrived < found.weight  # settled: all but 2 % of it
# The numbers of the text, above and below, as it rounds them.
assert (round(lam * beta, 3), round(lam * (1.0 - beta), 3)) == (0.495, 0.005)
assert (round(found.prior_weight, 4), round(found.weight, 4)) == (0.9901, 0.0099)
assert round(1.0 / (1.0 - beta)) == 100  # the memory that the text above speaks of

# %% [markdown]
# The series is geometric, and its limit is the fixed point. Let nothing change any more, so that
# $\mu = \lambda\beta\,\mu + (1 - \lambda)\,\mathrm{prior} + \lambda(1 - \beta)\,\mu_{raw}$,
# hence
#
# $$\mu = \frac{1 - \lambda}{1 - \lambda\beta}\,\mathrm{prior}
#   + \frac{\lambda (1 - \beta)}{1 - \lambda\beta}\,\mu_{raw}
#   = 0.9901\ \mathrm{prior} + 0.0099\ \mu_{raw}.$$
#
# The prior wins by a factor of a hundred.
#
# ## On the controller itself
#
# That was algebra. Now take the controller, with everything that it has, and hold the raw estimate
# at 0.05 for a whole run of 1,400 steps, then at 0.95. If the method is adaptive, the two weights
# should be far apart. Expect, from the algebra, less than 0.009.

# %%
raw = np.array([0.05, 0.95])  # two runs at once: the controller broadcasts
held = gac_ref.Proxies(sigma_s2=1.0 - raw, sigma_r2=raw, delta_g2=0.0)  # closed form = raw
steps = 1400
runs = {
    "released feedback": run_proxies(default, [held] * steps, (2,)),
    "own feedback": run_proxies(gac_ref.GACConfig.decoupled(), [held] * steps, (2,)),
}
fig, axes = plt.subplots(1, 2, sharey=True)
for ax, (name, run) in zip(axes, runs.items(), strict=True):
    ax.plot(run.mu[:, 1], color=ORANGE, label="estimate 0.95")
    ax.plot(run.mu[:, 0], color="black", linestyle="--", label="estimate 0.05")
    ax.plot(run.prior, color="#7F7F7F", linestyle=":", label="prior")
    ax.set_xlabel(f"step\n({name})")
axes[0].set_ylabel(r"applied weight $\mu$")
axes[0].set_ylim(0.0, 1.0)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
gap = {name: float((run.mu[:, 1] - run.mu[:, 0]).max()) for name, run in runs.items()}
for name, value in gap.items():
    print(f"{name:18} largest distance of the two runs: {value:.4f}")
# authority * 0.9 from below, reached to within a settled transient; clips cannot add to it.
assert gap["released feedback"] <= found.weight * 0.9 + 1e-12
assert round(gap["released feedback"], 4) == 0.0089  # as the text below gives it
# lambda * 0.9 = 0.45, less what mu_max = 0.9 cuts off the EMA; the text below says "0.4".
assert 0.40 < gap["own feedback"] < 0.45

# %% [markdown]
# On the left the two curves cannot be told apart: the largest distance is 0.0089. Whatever the
# batches say, $\mu$ is the schedule. On the right one thing changed: the weight EMA feeds on *its
# own* last value instead of the applied weight (`weight_ema = "internal"`, the variant
# `decoupled`). The same estimate now moves the weight by more than 0.4.
#
# ## A map of the choices
#
# Is this an accident of the defaults? The map shows the authority of the released feedback over
# both parameters. Expect a pale plane that darkens only towards $\lambda = 1$, where no prior is
# left to win, and towards the top, where nothing is averaged.

# %%
lam = np.linspace(0.0, 1.0, 201)
forget = np.logspace(-3, 0, 121)
gain = gain_map(lam[None, :], 1.0 - forget[:, None])
fig, ax = plt.subplots()
_ = draw_gain_map(lam, forget, gain, [(0.5, 0.01, "integration's default"), (0.9, 0.01, "0.9")], ax)

# %%
for blend_weight in (0.5, 0.9):
    here = float(gain_map(blend_weight, 0.99))
    told = gac_ref.authority(default.replace(blend_weight=blend_weight)).weight
    # The map's formula at the marked points against `authority`: rounding only.
    assert abs(here - told) < 1e-14
at_09 = gac_ref.authority(default.replace(blend_weight=0.9)).weight
print(f"authority at lambda = 0.9: {at_09:.3f}")
assert 0.08 < at_09 < 0.09  # "about 8 %" below

# %% [markdown]
# Even at $\lambda = 0.9$, which sounds like "90 % adaptive", the estimate has about 8 %. The lines
# crowd at the right edge: it is nearly all or nothing.
#
# ## Who moved mu? An exact account
#
# While no guard saturates, a step is linear, so the movement of $\mu$ is a *sum* of contributions,
# and what the cap and the bounds cut off can be booked as contributions of their own. We make the
# RL branch nine times as noisy from step 300 on, which asks for far more SFT, and split the
# movement in both variants. Expect the blue band to be all but invisible in the first.

# %%
horizon = 1200
values = [
    gac_ref.Proxies(sigma_s2=1.0, sigma_r2=9.0 if step >= 300 else 1.0, delta_g2=0.5)
    for step in range(horizon)
]
fig, axes = plt.subplots(2, 1, figsize=(5.5, 4.6), sharex=True)
estimate_moves = {}
for ax, (name, config) in zip(
    axes,
    (("released feedback", default), ("own feedback", gac_ref.GACConfig.decoupled())),
    strict=True,
):
    account = decompose(config, run_proxies(config, values))
    draw_contributions(account.parts, ax)
    ax.set_ylabel(f"{name}\n" + r"contribution to $\mu - \mu_0$")
    ax.set_ylim(-0.55, 0.55)
    estimate_moves[name] = float(np.abs(account.parts[0]).max())
    # An identity, not a fit: the parts add up to mu, but for the rounding of 1,200 steps.
    assert account.residual < 1e-12
axes[0].set_xlabel("")
for name, value in estimate_moves.items():
    print(f"{name:18} most that the estimate contributed: {value:.4f}")

# %%
assert estimate_moves["released feedback"] < 0.01  # the authority, times at most 1
assert estimate_moves["own feedback"] > 10 * estimate_moves["released feedback"]

# %% [markdown]
# Above, the prior (grey) and the cap (hatched, at the start) explain everything. Below, the blue
# band of the estimate opens after step 300 and keeps $\mu$ up where the prior alone would have let
# it fall.
#
# ## The cap: needed, or decoration?
#
# The change cap of 0.01 acts at the very start, when the schedule begins at 0 and $\mu$ at 0.5. Can
# it act later, on a jumpy estimate? Without a prior the largest step is
# $(1 - \beta)\,|\mu_{raw} - \mu|$, which is below 0.01 whatever the estimate does. Expect `False`.

# %%
no_prior = gac_ref.authority(default.replace(prior="none"))
print(f"without prior: cap can act: {no_prior.cap_can_bind}, largest {no_prior.largest_change:.4f}")
print(f"with prior, first step at which it can: {found.first_binding_step}")
assert not no_prior.cap_can_bind
assert found.first_binding_step == 0

# %% [markdown]
# ## Exercises
#
# **1.** Find the $\lambda$ at which the released feedback has an authority of one half, for
# $\beta = 0.99$.
#
# <details><summary>Hint</summary>
#
# Solve $\lambda (1 - \beta) / (1 - \lambda\beta) = 1/2$, or call
# `simulations.analysis.authority.linear.blend_weight_for(0.5, 0.99)`. It is very close to 1.
#
# </details>
#
# **2.** How many steps does each variant need to take up a change of the estimate? What is bought,
# and what paid?
#
# <details><summary>Hint</summary>
#
# Compare `settling_steps` of `gac_ref.authority` for the default and the `decoupled` variant. The
# pole is $\lambda\beta$ in one and $\beta$ in the other. Then look at `statistics_settling_steps`:
# which one is the bottleneck?
#
# </details>
#
# **3.** Run `gac-ref replay simulations/recording/trace --variant released` and read the authority
# report. Does the weight of a real run follow the estimate?
#
# <details><summary>Hint</summary>
#
# Compare the columns `mu`, `prior` and `mu_raw`. Then `--variant decoupled`.
#
# </details>
#
# ## What was learned
#
# * Sensible guards compose to a stack that lets 0.99 % of the estimate through.
# * The cause is one feedback: the EMA is fed with the applied weight, in which the prior is
#   already.
# * With its own state as feedback the same stack gives the estimate $\lambda$.
# * The contributions add up exactly, so for any run one can say who moved $\mu$.
