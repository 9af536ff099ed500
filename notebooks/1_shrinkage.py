# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. The closed form as shrinkage
#
# A training step has two gradients: one from expert demonstrations (SFT), one from the model's own
# rollouts (RL). Both are noisy, and they do not point the same way. GAC applies a mixture,
#
# $$G(\mu) = \mu\, G_s + (1 - \mu)\, G_r ,$$
#
# and has to choose $\mu$. This notebook derives its choice from nothing but a squared error, and
# then reads the result for what it is: a *shrinkage* rule, of the kind that statisticians have used
# since Stein. You need means and variances, and no machine learning.

# %%
import matplotlib.pyplot as plt
import numpy as np

import gac_ref

plt.rcParams.update({"figure.figsize": (5.5, 3.2), "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"  # Okabe and Ito
rng = np.random.default_rng(0)

# %% [markdown]
# ## Shrinkage, in one number
#
# Begin with one unknown number $\theta$, measured once: $y = \theta + e$, with noise of mean zero
# and variance $\sigma^2$. The honest estimate is $y$ itself; it is right on average. But suppose we
# report only a part of it, $c\,y$. This pulls every answer towards 0, a *bias* of
# $(1 - c)\,\theta$, and it makes the noise smaller, too. The mean squared error is the sum
#
# $$E\,(c\,y - \theta)^2 = \underbrace{(1 - c)^2\, \theta^2}_{\text{squared bias}}
#   + \underbrace{c^2 \sigma^2}_{\text{variance}} , \qquad
#   \text{least at } c^* = \frac{\theta^2}{\theta^2 + \sigma^2} .$$
#
# So the best part to report is the share of the *signal* in what was measured. Try it with
# $\theta^2 = \sigma^2 = 1$, by drawing the noise 20,000 times. Expect the least error at
# $c = 1/2$, and half as large as that of the honest $c = 1$.

# %%
theta, sigma2, draws = 1.0, 1.0, 20_000
y = theta + rng.normal(scale=np.sqrt(sigma2), size=draws)
parts_reported = np.linspace(0.0, 1.0, 11)
squared = (parts_reported[:, None] * y - theta) ** 2
seen = squared.mean(axis=1)

c = np.linspace(0.0, 1.0, 201)
fig, ax = plt.subplots()
ax.plot(c, (1 - c) ** 2 * theta**2 + c**2 * sigma2, color=BLUE, label="mean squared error")
ax.plot(c, (1 - c) ** 2 * theta**2, color=GREY, linestyle=":", label="squared bias")
ax.plot(c, c**2 * sigma2, color=GREEN, linestyle="--", label="variance")
ax.plot(parts_reported, seen, "o", color="black", markersize=4, label="measured")
ax.set_xlabel("part of the measurement that is reported, $c$")
ax.set_ylabel("mean squared error")
_ = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

# %%
formula = (1 - parts_reported) ** 2 * theta**2 + parts_reported**2 * sigma2
se = squared.std(axis=1, ddof=1) / np.sqrt(draws)
least_at = float(parts_reported[seen.argmin()])
print(f"least error {seen.min():.3f} at c = {least_at:.1f}; at c = 1: {seen[-1]:.3f}")
assert least_at == 0.5
# At c = 0 nothing is random; elsewhere five standard errors, as for the risk below.
assert np.all(np.abs(seen - formula) <= 5.0 * se + 1e-12)

# %% [markdown]
# A wrong answer on purpose beats the right one on average. That is shrinkage: a little bias is
# taken on, because it is paid for with less variance. The best amount depends on $\theta^2$, which
# nobody knows; it has to be estimated, and so will the disagreement of two gradients be. Keep
# $c^*$ in mind: it comes back.
#
# ## What a good weight is
#
# Each batch gradient is the true one plus noise, $G_k = g_k + e_k$, where the noise has mean zero
# and size $\sigma_k^2 = E|e_k|^2$. The true gradients differ by $\delta = g_s - g_r$. Suppose we
# knew them: we would follow the *target* $g^* = \alpha g_s + (1 - \alpha) g_r$, where $\alpha$ says
# how much we care for either objective. The *risk* of a weight is how far the mixture is from the
# target, on average: $R(\mu) = E|G(\mu) - g^*|^2$.
#
# Before any algebra, measure it. The next cell draws 20,000 pairs of gradients in 8 dimensions, RL
# with three times the noise variance of SFT, and averages the squared error at eleven weights.
# Expect a curve with a minimum somewhere inside: at $\mu = 0$ and $\mu = 1$ all of one branch's
# noise comes through.

# %%
sigma_s2, sigma_r2, alpha = 1.0, 3.0, 0.5
delta = np.full(8, 0.5)  # so |delta|^2 = 2
delta_g2 = float(delta @ delta)

g_r = np.zeros(8)
g_s = g_r + delta
target = alpha * g_s + (1.0 - alpha) * g_r
G_s = g_s + rng.normal(scale=np.sqrt(sigma_s2 / 8), size=(draws, 8))
G_r = g_r + rng.normal(scale=np.sqrt(sigma_r2 / 8), size=(draws, 8))

weights = np.linspace(0.0, 1.0, 11)
mixed = weights[:, None, None] * G_s + (1.0 - weights[:, None, None]) * G_r
errors = np.sum((mixed - target) ** 2, axis=-1)  # [weights, draws]
measured = errors.mean(axis=1)
standard_error = errors.std(axis=1, ddof=1) / np.sqrt(draws)
print("weight  measured risk")
for weight, value, se in zip(weights, measured, standard_error, strict=True):
    print(f"{weight:6.1f}  {value:.3f} +- {se:.3f}")

# %% [markdown]
# ## The risk is a parabola
#
# Put the definitions in: the error is $(\mu - \alpha)\delta + \mu e_s + (1 - \mu) e_r$. Square it
# and take the mean. The noise has mean zero, and the two branches' noises are independent, so every
# cross term vanishes:
#
# $$R(\mu) = \underbrace{(\mu - \alpha)^2 \Delta^2}_{\text{squared bias}}
#   + \underbrace{\mu^2 \sigma_s^2 + (1 - \mu)^2 \sigma_r^2}_{\text{variance}},
#   \qquad \Delta^2 = |\delta|^2 .$$
#
# Three numbers, and no vector: that is why a trainer can hope to use it. `gac_ref.risk` is this
# expression. Expect it to go through the measured points, within their standard errors.

# %%
exact = gac_ref.risk(weights, sigma_s2, sigma_r2, delta_g2, alpha)
best = float(gac_ref.closed_form(sigma_s2, sigma_r2, delta_g2, alpha))
least = float(gac_ref.risk(best, sigma_s2, sigma_r2, delta_g2, alpha))

fine = np.linspace(0.0, 1.0, 201)
fig, ax = plt.subplots()
bias = (fine - alpha) ** 2 * delta_g2
ax.plot(fine, gac_ref.risk(fine, sigma_s2, sigma_r2, delta_g2, alpha), color=BLUE, label="risk")
ax.plot(fine, bias, color=GREY, linestyle=":", label="squared bias")
ax.plot(fine, fine**2 * sigma_s2, color=GREEN, linestyle="--", label="SFT noise")
ax.plot(fine, (1 - fine) ** 2 * sigma_r2, color=ORANGE, linestyle="-.", label="RL noise")
ax.plot(weights, measured, "o", color="black", markersize=4, label="measured")
ax.annotate(
    f"least at {best:.3f}",
    (best, least),
    xytext=(best, 2.1),
    ha="center",
    arrowprops={"arrowstyle": "->"},
)
ax.set_xlabel(r"weight on SFT, $\mu$")
ax.set_ylabel("risk (gradient$^2$)")
_ = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

# %%
# Five standard errors: eleven normal means all lie within, but for one run in 150,000.
assert np.all(np.abs(measured - exact) < 5.0 * standard_error)
# The weight in the text below; the closed form is a ratio of small numbers, so rounding only.
assert abs(best - 2.0 / 3.0) < 1e-15

# %% [markdown]
# The dots lie on the line. The minimum is at 2/3, to the right of $\alpha = 1/2$: the noisier RL
# branch gets less weight than the target gives it. Some bias is accepted, since it is paid for with
# less variance.
#
# ## The minimum
#
# A parabola's minimum is where its derivative vanishes:
#
# $$2(\mu - \alpha)\Delta^2 + 2\mu\sigma_s^2 - 2(1 - \mu)\sigma_r^2 = 0, \qquad\text{so}\qquad
#   \mu^* = \frac{\alpha \Delta^2 + \sigma_r^2}{\Delta^2 + \sigma_s^2 + \sigma_r^2} .$$
#
# This is GAC's closed form. Do not take the algebra on trust: the next cell searches a fine grid
# for the minimum in 200 random situations. Expect agreement to half the distance of grid points.

# %%
grid = np.linspace(0.0, 1.0, 4001)
worst = 0.0
for _ in range(200):
    s, r, d = rng.exponential(size=3)
    a = rng.uniform()
    searched = grid[np.argmin(gac_ref.risk(grid, s, r, d, a))]
    worst = max(worst, abs(float(gac_ref.closed_form(s, r, d, a)) - float(searched)))
half_step = 0.5 * float(grid[1])
print(f"largest distance of search and formula: {worst:.2e}, half a grid step: {half_step:.2e}")
# The nearest grid point is at most half a step away; 1e-9 for ties that rounding decides.
assert worst <= half_step + 1e-9

# %% [markdown]
# ## It is a shrinkage rule
#
# Reorder the formula:
#
# $$\mu^* = w\,\alpha + (1 - w)\,\mu_{iv}, \qquad
#   w = \frac{\Delta^2}{\Delta^2 + \sigma_s^2 + \sigma_r^2}, \qquad
#   \mu_{iv} = \frac{\sigma_r^2}{\sigma_s^2 + \sigma_r^2} .$$
#
# It is a weighted mean of two answers to two different questions. $\mu_{iv}$ is inverse-variance
# weighting: the best mixture of two measurements *of the same thing*. $\alpha$ is what you would
# apply *without any noise*. And $w$ is the $c^*$ of the first section, the share of the signal.
#
# To see why, start from the quietest mixture, $G(\mu_{iv})$, and look at the difference of the
# branches, $Y = G_s - G_r$. It is a noisy measurement of the disagreement $\delta$: its noise has
# the variance $\sigma_s^2 + \sigma_r^2$, and at $\mu_{iv}$ *no correlation* with the noise of the
# mixture, since $\mu_{iv}\sigma_s^2 - (1 - \mu_{iv})\sigma_r^2 = 0$. To reach the target we would
# have to add $(\alpha - \mu_{iv})\,\delta$. We have only $Y$, so we add a part of it,
#
# $$G(\mu_{iv}) + c\,(\alpha - \mu_{iv})\,Y ,$$
#
# which is the mixture at $\mu = \mu_{iv} + c\,(\alpha - \mu_{iv})$. How large should $c$ be? The
# first section has the answer, signal over signal plus noise:
# $c^* = \Delta^2 / (\Delta^2 + \sigma_s^2 + \sigma_r^2) = w$.
#
# The claim to check is that the two noises do not correlate; the rest is the first section. The
# next cell measures it on the gradients drawn above. Expect zero within its standard error at
# $\mu_{iv} = 3/4$, and not elsewhere.

# %%
found = gac_ref.shrinkage(sigma_s2, sigma_r2, delta_g2)
noise_s, noise_r = G_s - g_s, G_r - g_r
print("weight  <noise of the mixture, noise of Y>")
for weight in (0.5, float(found.mu_iv), 1.0):
    products = np.sum((weight * noise_s + (1.0 - weight) * noise_r) * (noise_s - noise_r), axis=1)
    se = products.std(ddof=1) / np.sqrt(draws)
    print(f"{weight:6.2f}  {products.mean():+.3f} +- {se:.3f}")
    expected = weight * sigma_s2 - (1.0 - weight) * sigma_r2
    assert abs(products.mean() - expected) < 5.0 * se
    assert (expected == 0.0) == (weight == 0.75)
print(f"mu_iv {found.mu_iv:.3f}, w {found.w:.3f}: mu* = {best:.3f}")
# A few operations of rounding on numbers below 1.
assert abs(found.w - 1.0 / 3.0) < 1e-15  # "a third of the way" below
assert abs(found.mu_iv + found.w * (alpha - found.mu_iv) - best) < 1e-15

# %% [markdown]
# So GAC's rule starts from the quietest mixture, and goes a third of the way towards the target,
# because one third of what separates the two branches here is real disagreement.
#
# Vary the disagreement over six decades, for three ratios of the noises. Expect each curve to start
# at its own $\mu_{iv}$ on the left, and all to end at $\alpha$.

# %%
ratio = np.logspace(-3, 3, 121)  # disagreement over noise
fig, ax = plt.subplots()
for (s, r), color, dash in (
    ((1.0, 9.0), ORANGE, "-."),
    ((1.0, 1.0), GREY, ":"),
    ((9.0, 1.0), GREEN, "--"),
):
    disagreement = ratio * (s + r)
    mu = gac_ref.closed_form(s, r, disagreement, alpha)
    ax.plot(ratio, mu, color=color, linestyle=dash)
    start = (ratio[0], float(mu[0]) + 0.01)
    ax.annotate(f"$\\mu_{{iv}}$ = {r / (s + r):.1f}", start, va="bottom", color=color)
    parts = gac_ref.shrinkage(s, r, disagreement)
    # The same number by another route: four operations of rounding, each 1.1e-16.
    assert np.allclose(parts.w * alpha + (1.0 - parts.w) * parts.mu_iv, mu, rtol=0.0, atol=1e-15)
ax.axvline(1.0, color="black", linewidth=0.6)
ax.annotate("halfway: $w$ = 1/2", (1.15, 0.05))
ax.set_xscale("log")
ax.set_ylim(0.0, 1.0)
ax.set_xlabel(r"disagreement over noise, $\Delta^2 / (\sigma_s^2 + \sigma_r^2)$")
_ = ax.set_ylabel(r"$\mu^*$")

# %% [markdown]
# The three curves meet at $\alpha$. They are halfway where disagreement and noise are equal, which
# is where $w = 1/2$. And none leaves $[0, 1]$: a mean of two numbers in $[0, 1]$ cannot.
#
# ## What a wrong weight costs
#
# A parabola is known by its minimum and its curvature, so any other weight costs
#
# $$R(\mu) - R(\mu^*) = A\,(\mu - \mu^*)^2, \qquad A = \Delta^2 + \sigma_s^2 + \sigma_r^2 .$$
#
# The cost is quadratic: near the minimum almost nothing. The next cell asks what the plain choice
# $\mu = \alpha$ would have cost in our example. Expect a small number.

# %%
cost = float(gac_ref.regret(alpha, sigma_s2, sigma_r2, delta_g2, alpha))
print(f"least risk {least:.4f}; mu = alpha costs {cost:.4f} more, {cost / least:.0%}")
difference = gac_ref.risk(alpha, sigma_s2, sigma_r2, delta_g2, alpha) - least
# The product form and the difference of two risks near 1 agree to a few roundings.
assert abs(cost - float(difference)) < 1e-15
assert round(100 * cost / least) == 20  # the percentage in the text below, rounded as it is there

# %% [markdown]
# A weight off by 1/6 costs 20 % here. So a controller needs the right *region* of $\mu$ and no
# third digit: a fact to remember when its three inputs are themselves estimates.
#
# ## Where nothing is left to choose by
#
# With neither noise nor disagreement the formula is $0/0$: the risk is flat, and every weight is as
# good as any other. A program must still return something. Expect $\alpha$: at that weight the
# mixture *is* the target.

# %%
flat = float(gac_ref.closed_form(0.0, 0.0, 0.0, alpha=0.3))
print(f"no noise, no disagreement, alpha = 0.3: mu* = {flat}")
assert flat == 0.3  # a stated answer, not a computed one: exact

# %% [markdown]
# ## Exercises
#
# **1.** With $\alpha = 1$ the target is the SFT gradient. When is it still right to give RL more
# than half of the weight?
#
# <details><summary>Hint</summary>
#
# Set $\mu^* < 1/2$ in the closed form and solve for $\sigma_s^2$: it has to exceed the sum of the
# other two. Try `gac_ref.closed_form(4.0, 1.0, 1.0, 1.0)`.
#
# </details>
#
# **2.** You may halve the noise of one branch by doubling its batch. Which branch is worth it?
#
# <details><summary>Hint</summary>
#
# The least risk moves with a variance at the rate $\partial R(\mu^*) / \partial \sigma_s^2 =
# \mu^{*2}$ and $\partial R(\mu^*) / \partial \sigma_r^2 = (1 - \mu^*)^2$, since $\mu^*$ itself is
# optimal and its own movement costs nothing at first order. Multiply by what the halving takes
# away.
#
# </details>
#
# **3.** Let the noises be correlated, $E\langle e_s, e_r\rangle = \kappa > 0$. Find a situation in
# which the best weight is above 1, and say in words what it does.
#
# <details><summary>Hint</summary>
#
# `gac_ref.correlated_closed_form(..., kappa=..., bounds=None)` with $\Delta^2 = 0$ and
# $\kappa > \sigma_s^2$. The worse branch gets a negative weight: it is subtracted, to cancel noise
# that both share.
#
# </details>
#
# ## What was learned
#
# * Shrinkage: reporting only the share of the signal in a noisy measurement has the least error.
# * The risk of a mixture is a parabola in $\mu$, known from three numbers: two noises and a squared
#   disagreement.
# * Its minimum shrinks inverse-variance weighting towards the target ratio $\alpha$, by the share
#   of the disagreement in everything that separates the branches.
# * It lies in $[0, 1]$ by itself, and a weight that is a little off costs little.
# * The formula knows nothing of how the three numbers are obtained. That is the next notebook.
