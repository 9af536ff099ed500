# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. From token tensors to mu
#
# The closed form wants two noises and a disagreement of *gradients*. No trainer can afford these:
# they take per-sample gradients of the whole model. GAC uses stand-ins that cost one pass over
# tensors which the trainer has anyway. Here we compute every one of them by hand, in plain NumPy,
# on a batch small enough to read, and hold each against `gac_ref`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import gac_ref

plt.rcParams.update({"figure.figsize": (5.5, 3.2), "figure.constrained_layout.use": True})
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7F7F7F"
ROUNDING = 1e-7  # masked means divide by count + 1e-8, hand-made ones by the count

# %% [markdown]
# ## The batch
#
# Nine sequences of at most five tokens: five expert demonstrations, then four rollouts of one
# prompt. For each token the trainer knows the probability that the current policy gives it (as a
# log, in nats). For each rollout it knows an advantage. The mask says which positions are response
# tokens.
#
# The picture shows the probabilities. Expect hatched cells without a number: padding, which nothing
# may read.

# %%
probability = np.array(
    [
        [0.90, 0.80, 0.95, 0.70, 1.00],
        [0.60, 0.90, 0.85, 1.00, 1.00],
        [0.30, 0.50, 0.20, 0.40, 0.60],
        [0.95, 0.90, 0.99, 0.97, 0.90],
        [0.75, 0.65, 0.70, 1.00, 1.00],
        [0.50, 0.90, 0.40, 0.70, 0.95],
        [0.80, 0.60, 0.99, 1.00, 1.00],
        [0.30, 0.70, 0.85, 0.50, 1.00],
        [0.90, 0.95, 0.20, 0.60, 0.75],
    ]
)
length = np.array([4, 3, 5, 5, 3, 5, 3, 4, 5])
is_expert = np.arange(9) < 5
mask = np.arange(5) < length[:, None]
logprob = np.log(probability)

rewards = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
group_ids = np.array([1, 2, 3, 4, 5, 0, 0, 0, 0])
advantages = gac_ref.group_advantages(rewards, group_ids, is_expert=is_expert)
print("advantages of the rollouts:", advantages[5:].round(4))

fig, ax = plt.subplots()
shown = ax.imshow(np.where(mask, probability, np.nan), cmap="Blues", vmin=0.0, vmax=1.4)
ax.patch.set(hatch="////", edgecolor=GREY)
for (row, column), value in np.ndenumerate(probability):
    if mask[row, column]:
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8)
ax.set_aspect("auto")
ax.axhline(4.5, color="black")
ax.set_yticks(range(9), [f"expert {i}" if i < 5 else f"rollout {i - 5}" for i in range(9)])
ax.set_xticks(range(5))
_ = ax.set_xlabel("position (token), with the policy's probability of the token there")

# %% [markdown]
# Two of the four rollouts were rewarded. Group normalisation turned their rewards into advantages
# of mean 0; demonstrations have none.
#
# ## RL noise: the spread of the advantages
#
# Each rollout contributes one number, the mean of its advantages over response tokens. `sigma_r2`
# is the population variance of these numbers. Expect 3/4 almost exactly, before looking at any
# token: normalising a group of G by its own spread (with G - 1) fixes their variance at (G - 1)/G.

# %%
config = gac_ref.GACConfig()
batch = gac_ref.Batch(logprob, mask, advantages, is_expert)
found = gac_ref.proxies(config, batch)

rollouts = ~is_expert
sequence_advantage = advantages[rollouts]  # one advantage a sequence: its own mean
by_hand_r2 = sequence_advantage.var()
print(f"sigma_r2 by hand {by_hand_r2:.6f}, gac_ref {found.sigma_r2:.6f}, (G - 1)/G = 0.75")
assert abs(by_hand_r2 - found.sigma_r2) < ROUNDING
# The advantage convention adds 1e-4 to the spread of about 0.577: a relative 3.5e-4 in the square.
assert abs(found.sigma_r2 - 0.75) < 5e-4

# %% [markdown]
# So with normalised advantages this proxy carries little besides the share of groups in which
# rewards differed at all. It is one of the things to know about the method.
#
# ## SFT noise: the spread of the surprise
#
# Each demonstration contributes its mean negative log-likelihood: long ones get no extra vote.
# `sigma_s2` is the variance of these, after dropping `floor(n * trim_ratio)` values at either end.
# With five demonstrations and a ratio of 0.1 that is none. Expect one demonstration, the third, to
# make more than four fifths of it: the policy finds it hard.

# %%
nll = -(logprob * mask).sum(axis=1)[is_expert] / length[is_expert]
print("mean NLL of each demonstration, nats:", nll.round(3))
by_hand_s2 = nll.var()
print(f"sigma_s2 by hand {by_hand_s2:.6f}, gac_ref {found.sigma_s2:.6f}")
assert abs(by_hand_s2 - found.sigma_s2) < ROUNDING

without_third = np.delete(nll, 2).var()
trimmed = gac_ref.trimmed_variance(nll, 0.2)
print(f"without the third: {without_third:.4f}; with trim_ratio 0.2: {trimmed:.4f}")
# The claim in the text: one sequence of five makes more than four fifths of the variance,
assert without_third < 0.2 * by_hand_s2
assert trimmed < 0.2 * by_hand_s2  # and trimming one value at each end removes it.

# %% [markdown]
# ## Disagreement: comparing coefficients
#
# Both gradients are sums over tokens of a coefficient times $\nabla \log p$. For RL the coefficient
# is $-A$; for SFT with CHORD's token weight it is $-\varphi(p)$, $\varphi(p) = p(1 - p)$: small
# where the policy is sure either way. GAC compares the *coefficients* on the rollouts' tokens, each
# stream first normalised to mean 0 and variance 1 over these tokens, and averages the squared
# difference, token by token, then sequence by sequence.
#
# Two normalised streams with correlation $r$ differ by $2(1 - r)$ on average. So expect a number
# near 2 for streams that have little to do with each other. In the picture expect the RL
# coefficient to be the same along a row, since a whole rollout has one advantage, and the SFT
# coefficient to be lowest where the policy is undecided, near $p = 1/2$.

# %%
phi = gac_ref.phi(logprob)
tokens = mask & rollouts[:, None]  # the tokens that both objectives share
A = np.broadcast_to(advantages[:, None], mask.shape)


def normalised(stream: np.ndarray) -> np.ndarray:
    """Mean 0 and population variance 1 over the shared tokens."""
    return (stream - stream[tokens].mean()) / stream[tokens].std()


z_s, z_r = normalised(-phi), normalised(-A)
square = np.where(tokens, (z_s - z_r) ** 2, 0.0)

fig, axes = plt.subplots(1, 3, figsize=(7.0, 2.2), sharey=True)
for ax, values, name, cmap, ends in (
    (axes[0], z_s, "SFT coefficient", "RdBu_r", (-4.0, 4.0)),
    (axes[1], z_r, "RL coefficient", "RdBu_r", (-4.0, 4.0)),
    (axes[2], square, "squared difference", "Oranges", (0.0, 12.0)),
):
    values = np.where(tokens, values, np.nan)[rollouts]
    ax.imshow(values, cmap=cmap, vmin=ends[0], vmax=ends[1], aspect="auto")
    ax.patch.set(hatch="////", edgecolor=GREY)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8)
    ax.set_title(name, fontsize=10)
    ax.set_xticks(range(5))
    ax.set_xlabel("position")
axes[0].set_yticks(range(4), [f"rollout {i}" for i in range(4)])
by_sequence = square.sum(axis=1)[rollouts] / length[rollouts]
print("mean squared difference of each rollout:", by_sequence.round(3))
by_hand_d2 = by_sequence.mean()
r = np.corrcoef(phi[tokens], A[tokens])[0, 1]
print(f"delta_g2 by hand {by_hand_d2:.6f}, gac_ref {found.delta_g2:.6f}")
print(f"correlation of the streams {r:.3f}, so 2 (1 - r) = {2 * (1 - r):.3f} over tokens")
assert abs(by_hand_d2 - found.delta_g2) < ROUNDING
# As the picture is announced: one RL coefficient a rollout, to rounding; phi is largest near 1/2.
assert np.all([np.ptp(z_r[row][tokens[row]]) < 1e-12 for row in np.flatnonzero(rollouts)])
assert np.abs(probability[tokens][phi[tokens].argmax()] - 0.5) <= 0.1
assert round(by_hand_d2, 1) == 1.5  # as the text below rounds it
# Averaging by sequence instead of by token moves it by less than a tenth on sequences so alike.
assert abs(2 * (1 - r) - by_hand_d2) < 0.1 * by_hand_d2

# %% [markdown]
# Read a row: the squared differences of its tokens, averaged, are that rollout's vote, and the
# votes are averaged. The streams of this batch are weakly correlated, and the disagreement is
# about 1.5. The three
# numbers have three units: advantage squared, nats squared, and a pure number. Nothing
# in the method calibrates them to one another. Keep that in mind when they are added up below.
#
# ## From three numbers to mu
#
# The controller smooths the statistics, takes the closed form, and lets the result through its
# guards. At step 0 the averages are seeded with this batch, so the closed form sees our own
# three numbers. Expect a raw weight above 1/2, since RL looks noisier, and an applied weight that
# has hardly moved from where it began.

# %%
state = gac_ref.init(config)
state, info = gac_ref.update(config, state, batch, step=0)
raw = (0.5 * by_hand_d2 + by_hand_r2) / (by_hand_d2 + by_hand_s2 + by_hand_r2)
stages = ("mu_raw", "mu_ada", "prior", "mu_candidate", "mu_capped", "mu")
for name in stages:
    print(f"{name:13} {float(getattr(info, name)):.4f}")
print("guards that acted:", [name for name, acted in info.flags.items() if acted.any()])
assert abs(raw - float(info.mu_raw)) < ROUNDING

# %%
values = [config.init_mu] + [float(getattr(info, name)) for name in stages]
names = [
    "last weight",
    "closed form",
    "EMA with the last weight",
    "prior at step 0",
    "half EMA, half prior",
    "at most 0.01 away",
    "applied",
]
fig, ax = plt.subplots()
y = np.arange(len(values))[::-1]
ax.hlines(y, config.init_mu, values, color=GREY, linewidth=1.0)
ax.plot(values, y, "o", color=BLUE)
ax.plot(values[3], y[3], "s", color=ORANGE)
ax.axvline(config.init_mu, color="black", linewidth=0.6)
for place, value in zip(y, values, strict=True):
    side = 8 if value >= config.init_mu else -8
    ax.annotate(
        f"{value:.3f}",
        (value, place),
        xytext=(side, 0),
        textcoords="offset points",
        va="center",
        ha="left" if side > 0 else "right",
        fontsize=8,
    )
ax.set_yticks(y, names)
ax.set_xlim(-0.2, 0.8)
_ = ax.set_xlabel(r"weight on SFT; the line is the weight before the step")

# %%
# Each guard by its formula. Rounding: a handful of float64 operations on numbers below 1.
ema = 0.99 * 0.5 + 0.01 * float(info.mu_raw)
candidate = 0.5 * 0.0 + 0.5 * ema  # the prior starts at 0
assert abs(ema - float(info.mu_ada)) < 1e-12
assert abs(candidate - float(info.mu_candidate)) < 1e-12
assert abs(float(info.mu) - 0.49) < 1e-12
assert bool(info.flags["change_capped"])
assert float(info.mu_raw) > 0.5

# %% [markdown]
# The estimate asks for more SFT, and the applied weight went *down*, to 0.49: the prior starts at 0
# and pulls, and the change cap stops the fall at 0.01. What the estimate itself does to mu is the
# subject of the next notebook.
#
# ## One batch, two variants
#
# The released code and the documents do not compute the same statistics. The cell runs both on our
# batch. Expect the same noises, and a disagreement that is three to six times smaller in the
# released code: without normalisation $\varphi$, at most 1/4, hardly counts against the advantages.

# %%
for variant in ("documented", "released"):
    each = gac_ref.GACConfig.variant(variant)
    here = gac_ref.proxies(each, batch)
    print(f"{variant:10}  s2 {here.sigma_s2:.4f}  r2 {here.sigma_r2:.4f}  D2 {here.delta_g2:.4f}")
released = gac_ref.proxies(gac_ref.GACConfig.released(), batch)
# Same tokens, same trimming: the two noises agree to rounding.
assert abs(released.sigma_s2 - found.sigma_s2) < ROUNDING
assert abs(released.sigma_r2 - found.sigma_r2) < ROUNDING
assert 3.0 < found.delta_g2 / released.delta_g2 < 6.0  # the range in the text above

# %% [markdown]
# ## Padding must not be read
#
# Last, a thing that goes wrong in real ports. Put an infinity into one padded position. Expect the
# documented variant to give the same bits as before, and the released one NaN: it multiplies by the
# mask instead of selecting, and infinity times zero is not zero.

# %%
poisoned = logprob.copy()
poisoned[1, 4] = -np.inf  # padding of a demonstration
dirty = gac_ref.Batch(poisoned, mask, advantages, is_expert)
safe = gac_ref.proxies(config, dirty)
multiplied = gac_ref.proxies(gac_ref.GACConfig.released(), dirty)
print("documented:", safe.sigma_s2, " released:", multiplied.sigma_s2)
assert safe.sigma_s2 == found.sigma_s2  # to the bit: padding is never touched
assert np.isnan(multiplied.sigma_s2)

# %% [markdown]
# ## Exercises
#
# **1.** Give all four rollouts the same reward. Which proxies change, and what does the controller
# say?
#
# <details><summary>Hint</summary>
#
# Look at `found.rl_stream_constant` and `found.sigma_r2_floored`. Without spread there is nothing
# to normalise by, and a variance of 0 is raised to `eps`.
#
# </details>
#
# **2.** Repeat one long demonstration twice as long. Does `sigma_s2` change?
#
# <details><summary>Hint</summary>
#
# Concatenate a row with itself and pad the others. Each sequence has one vote whatever its length,
# and its mean NLL does not change.
#
# </details>
#
# **3.** Split the batch into two shards of any size, and get the same proxies as from the whole.
#
# <details><summary>Hint</summary>
#
# `gac_ref.merge(gac_ref.partial_sums(config, a), gac_ref.partial_sums(config, b))`, then
# `gac_ref.proxies_from_sums`. Try averaging the shards' proxies instead, and see it fail.
#
# </details>
#
# ## What was learned
#
# * Three statistics from three tensors: the spread of sequence advantages, the trimmed spread of
#   sequence NLLs, and the distance of two normalised coefficient streams.
# * With group-normalised advantages the RL noise is fixed by how many groups have spread.
# * The units differ, and nothing calibrates them.
# * The raw weight and the applied weight are two very different things.
