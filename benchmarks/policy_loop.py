"""The tabular token policy in plain Python: one trajectory at a time, token by token, lists only.

The yardstick of `bench_simulations.py`. It takes the random numbers, the tables of the task and the
settings from the simulation, uses the library's own controller, as a trainer's loop would, and
computes the rest by itself: every step the sampled gradients and the move, every
`measure_every` steps the exact values that a study reports. No step is slower than a plain loop
has to be: each token's probabilities are computed once, exact values by dynamic programming.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gac_ref import Batch, init, update
from simulations.models.policy_tables import constants

Row = list[float]


class Path(NamedTuple):
    """A sequence: its states, tokens, and the policy's probabilities in each state."""

    states: list[int]
    tokens: list[int]
    rows: list[Row]


def softmax(logits: Row) -> Row:
    top = max(logits)
    weights = [math.exp(z - top) for z in logits]
    total = sum(weights)
    return [w / total for w in weights]


def pick(p: Row, uniform: float) -> int:
    reached, last = 0.0, len(p) - 1
    for token in range(last):
        reached += p[token]
        if uniform < reached:
            return token
    return last


class Loop:
    """One trajectory: `step` samples, asks the controller, measures when due, and moves.

    Args:
        problem: A `TokenPolicy` with a threshold reward and the advantage "trl".
        config: GAC's configuration.
        theta: The starting point, a plain list.
        rate: Learning rate.
        alpha: Weight of the SFT gradient in the target.
        measure_every: Steps between two measurements.
        large_change: A step with a larger change of mu counts as an event.
    """

    def __init__(
        self,
        problem: Any,
        config: Any,
        theta: Row,
        *,
        rate: float,
        alpha: float,
        measure_every: int,
        large_change: float,
    ) -> None:
        self.problem, self.config, self.rate, self.alpha = problem, config, rate, alpha
        self.measure_every, self.large_change = measure_every, large_change
        self.prompts, self.horizon, self.states, self.vocabulary = problem.shape
        self.targets = problem.targets().tolist()
        fixed = constants(problem)
        self.expert: list[list[Row]] = fixed.expert.tolist()
        self.expert_uses: list[list[Row]] = fixed.expert_joint.tolist()
        self.reference: list[list[Row]] = fixed.reference_logp.tolist()
        self.needed = problem.required or problem.horizon
        v = self.vocabulary
        self.theta = [
            [
                theta[(x * self.states + s) * v : (x * self.states + s + 1) * v]
                for s in range(self.states)
            ]
            for x in range(self.prompts)
        ]
        self.start = list(theta)
        self.state, self.mu, self.large_changes = init(config), math.nan, 0
        self.seen: Batch
        self.measured: list[dict[str, float]] = []

    def step(self, number: int, uniforms: Row) -> None:
        """One step from the numbers that the simulation draws for one seed, in its order."""
        problem, prompts = self.problem, self.prompts
        numbers = iter(uniforms)
        groups, size = problem.groups, problem.group_size
        of_groups = [min(int(next(numbers) * prompts), prompts - 1) for _ in range(groups)]
        of_experts = [
            min(int(next(numbers) * prompts), prompts - 1) for _ in range(problem.experts)
        ]
        demonstrations = self.demonstrate(of_experts, numbers)
        of_rollouts = [x for x in of_groups for _ in range(size)]
        rollouts = self.roll_out(of_rollouts, numbers)
        rewards = [self.verify(x, path) for x, path in zip(of_rollouts, rollouts, strict=True)]
        advantages: Row = []
        for first in range(0, len(rewards), size):
            advantages += relative(rewards[first : first + size])
        grad_s = self.gradient(
            of_experts, demonstrations, [-1.0 / len(demonstrations)] * len(demonstrations)
        )
        grad_r = self.gradient(of_rollouts, rollouts, [-a / len(rollouts) for a in advantages])
        if number % self.config.mu_update_freq == 0:  # between refreshes no batch is looked at
            self.seen = self.batch(demonstrations, rollouts, advantages)
        self.state, info = update(self.config, self.state, self.seen, step=number)
        before, self.mu = self.mu, float(info.mu)
        self.large_changes += abs(self.mu - before) > self.large_change
        if number % self.measure_every == 0:
            self.measured.append(self.measure())
        for table, of_s, of_r in zip(self.theta, grad_s, grad_r, strict=True):
            for row, row_s, row_r in zip(table, of_s, of_r, strict=True):
                for v in range(self.vocabulary):
                    row[v] -= self.rate * (self.mu * row_s[v] + (1.0 - self.mu) * row_r[v])

    def demonstrate(self, prompts: list[int], numbers: Any) -> list[Path]:
        """Sequences of the expert; the rows are the policy's."""
        chosen: list[Path] = [Path([], [], []) for _ in prompts]
        for t in range(self.horizon):
            for x, path in zip(prompts, chosen, strict=True):
                s = self.state_at(t, path.tokens)
                path.states.append(s)
                path.tokens.append(pick(self.expert[x][s], next(numbers)))
                path.rows.append(softmax(self.theta[x][s]))
        return chosen

    def roll_out(self, prompts: list[int], numbers: Any) -> list[Path]:
        """Sequences of the policy."""
        chosen: list[Path] = [Path([], [], []) for _ in prompts]
        for t in range(self.horizon):
            for x, path in zip(prompts, chosen, strict=True):
                s = self.state_at(t, path.tokens)
                p = softmax(self.theta[x][s])
                path.states.append(s)
                path.tokens.append(pick(p, next(numbers)))
                path.rows.append(p)
        return chosen

    def state_at(self, t: int, tokens: list[int]) -> int:
        return 0 if t == 0 else 1 + (t - 1) * self.vocabulary + tokens[-1]

    def verify(self, x: int, path: Path) -> float:
        hits = sum(a == b for a, b in zip(path.tokens, self.targets[x], strict=True))
        return 1.0 if hits >= self.needed else 0.0

    def gradient(self, prompts: list[int], paths: list[Path], weights: Row) -> list[list[Row]]:
        """Sum of weight times score, as a table."""
        table = self.zeros()
        for x, path, weight in zip(prompts, paths, weights, strict=True):
            for s, token, p in zip(path.states, path.tokens, path.rows, strict=True):
                row = table[x][s]
                for v in range(self.vocabulary):
                    row[v] -= weight * p[v]
                row[token] += weight
        return table

    def batch(self, demonstrations: list[Path], rollouts: list[Path], advantages: Row) -> Batch:
        """What the estimator asks for, where it refreshes its statistics."""
        paths = demonstrations + rollouts
        return Batch(
            [
                [math.log(p[a]) for p, a in zip(path.rows, path.tokens, strict=True)]
                for path in paths
            ],
            [[True] * self.horizon for _ in paths],
            [0.0] * len(demonstrations) + advantages,
            [True] * len(demonstrations) + [False] * len(rollouts),
        )

    def zeros(self) -> list[list[Row]]:
        return [[[0.0] * self.vocabulary for _ in range(self.states)] for _ in range(self.prompts)]

    def measure(self) -> dict[str, float]:
        """Exact outcomes, gradient MSE and regret at theta with the weight about to be applied."""
        g_s, g_r, mean_r = self.zeros(), self.zeros(), self.zeros()
        square_s = second_r = reward = sft = kl = spread = 0.0
        share = 1.0 / self.prompts
        for x in range(self.prompts):
            p = [softmax(row) for row in self.theta[x]]
            wins, uses = self.winning_uses(x, p)
            visits = [sum(row) for row in uses]
            lose = [
                [uses[s][v] - wins[s][v] for v in range(self.vocabulary)]
                for s in range(self.states)
            ]
            chance = sum(wins[0])
            reward += share * chance
            weight_win, weight_lose, own, cross = self.group_moments(chance)
            scores = {"win": score(wins, p), "lose": score(lose, p)}
            second_r += share * (
                own[1] * squares(wins, p)
                + own[0] * squares(lose, p)
                + cross[2] * inner(scores["win"], scores["win"])
                + cross[1] * inner(scores["win"], scores["lose"])
                + cross[0] * inner(scores["lose"], scores["lose"])
            )
            of_expert = score(self.expert_uses[x], p)
            square_s += share * squares(self.expert_uses[x], p)
            for s in range(self.states):
                for v in range(self.vocabulary):
                    g_s[x][s][v] = -share * of_expert[s][v]
                    g_r[x][s][v] = -share * scores["win"][s][v]
                    mean_r[x][s][v] = -share * (
                        weight_win * scores["win"][s][v] + weight_lose * scores["lose"][s][v]
                    )
                    logp = math.log(p[s][v])
                    sft -= share * self.expert_uses[x][s][v] * logp
                    kl += share * visits[s] * p[s][v] * (logp - self.reference[x][s][v])
                    spread -= share * visits[s] * p[s][v] * logp
        sigma_s2 = (square_s - norm2(g_s)) / self.problem.experts
        sigma_r2 = (second_r - norm2(mean_r)) / self.problem.groups
        risk, regret, best = self.risk_and_regret(g_s, g_r, mean_r, sigma_s2, sigma_r2)
        return {
            "reward": reward,
            "sft_loss": sft,
            "kl": kl / self.horizon,
            "entropy": spread / self.horizon,
            "gradient_mse": risk,
            "regret": regret,
            "mu_gap": abs(self.mu - best),
            "drift": 0.5
            * sum((a - b) ** 2 for a, b in zip(flat(self.theta), self.start, strict=True)),
        }

    def winning_uses(self, x: int, p: list[Row]) -> tuple[list[Row], list[Row]]:
        """Expected uses of each pair in rewarded sequences, and in all: forward, then backward."""
        v_count, horizon = self.vocabulary, self.horizon
        before = [[1.0] + [0.0] * horizon]  # by previous token and count of hits
        history = []
        for t in range(horizon):
            history.append(before)
            after = [[0.0] * (horizon + 1) for _ in range(v_count)]
            for u, counts in enumerate(before):
                row = p[0 if t == 0 else 1 + (t - 1) * v_count + u]
                for c in range(t + 1):
                    if counts[c]:
                        for v in range(v_count):
                            after[v][c + (v == self.targets[x][t])] += counts[c] * row[v]
            before = after
        ahead = [[1.0 if c >= self.needed else 0.0 for c in range(horizon + 2)]] * v_count
        wins: list[Row] = [[0.0] * v_count for _ in range(self.states)]
        uses: list[Row] = [[0.0] * v_count for _ in range(self.states)]
        for t in reversed(range(horizon)):
            behind = []
            for u, counts in enumerate(history[t]):
                s = 0 if t == 0 else 1 + (t - 1) * v_count + u
                total, row = sum(counts), p[s]
                for v in range(v_count):
                    hit = int(v == self.targets[x][t])
                    won = sum(counts[c] * ahead[v][c + hit] for c in range(t + 1))
                    wins[s][v], uses[s][v] = row[v] * won, row[v] * total
                behind.append(
                    [
                        sum(
                            row[v] * ahead[v][c + (v == self.targets[x][t])] for v in range(v_count)
                        )
                        for c in range(t + 1)
                    ]
                )
            ahead = behind
        return wins, uses

    def group_moments(self, chance: float) -> tuple[float, float, Row, Row]:
        """Weights of won and lost rollouts in a group's mean gradient, and of its mean square.

        Sums over k, the number of rollouts of a group that win.
        """
        size = self.problem.group_size
        win = lose = 0.0
        own, cross = [0.0, 0.0], [0.0, 0.0, 0.0]
        q, r = chance, 1.0 - chance
        for k in range(1, size):
            a_lose, *_, a_win = sorted(relative([1.0] * k + [0.0] * (size - k)))
            likely = math.comb(size, k) * q**k * r ** (size - k)
            win += likely * k * a_win / (size * q)
            lose += likely * (size - k) * a_lose / (size * r)
            own[1] += likely * k * a_win**2 / (size**2 * q)
            own[0] += likely * (size - k) * a_lose**2 / (size**2 * r)
            cross[2] += likely * k * (k - 1) * a_win**2 / (size * q) ** 2
            cross[1] += likely * 2 * k * (size - k) * a_win * a_lose / (size**2 * q * r)
            cross[0] += likely * (size - k) * (size - k - 1) * a_lose**2 / (size * r) ** 2
        return win, lose, own, cross

    def risk_and_regret(
        self, g_s: Any, g_r: Any, mean_r: Any, sigma_s2: float, sigma_r2: float
    ) -> tuple[float, float, float]:
        """The exact risk, its excess over that of the best weight in [0, 1], and that weight."""
        slope2 = pull = 0.0
        offset2 = 0.0
        for of_s, of_r, of_mean in zip(flat(g_s), flat(g_r), flat(mean_r), strict=True):
            offset = of_mean - of_r - self.alpha * (of_s - of_r)
            slope = of_s - of_mean
            slope2 += slope * slope
            pull -= slope * offset
            offset2 += offset * offset

        def risk(mu: float) -> float:
            error2 = mu * mu * slope2 - 2.0 * mu * pull + offset2
            return error2 + mu * mu * sigma_s2 + (1.0 - mu) ** 2 * sigma_r2

        best = min(max((pull + sigma_r2) / (slope2 + sigma_s2 + sigma_r2), 0.0), 1.0)
        return risk(self.mu), risk(self.mu) - risk(best), best


def relative(rewards: Row) -> Row:
    """Reward minus the group's mean, over its standard deviation (ddof 1) plus 1e-4."""
    mean = sum(rewards) / len(rewards)
    centred = [reward - mean for reward in rewards]
    spread = math.sqrt(sum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (spread + 1e-4) for c in centred]


def score(uses: list[Row], p: list[Row]) -> list[Row]:
    """Gradient of the sum of uses times log-probability with respect to the logits."""
    out = []
    for row, chances in zip(uses, p, strict=True):
        total = sum(row)
        out.append([use - total * chance for use, chance in zip(row, chances, strict=True)])
    return out


def squares(uses: list[Row], p: list[Row]) -> float:
    """Mean squared length of a score: each pair's |e_a - p|^2, as often as it is used."""
    total = 0.0
    for row, chances in zip(uses, p, strict=True):
        length = 1.0 + sum(chance * chance for chance in chances)
        total += sum(use * (length - 2.0 * c) for use, c in zip(row, chances, strict=True))
    return total


def inner(a: list[Row], b: list[Row]) -> float:
    return sum(x * y for r, q in zip(a, b, strict=True) for x, y in zip(r, q, strict=True))


def flat(table: list[list[Row]]) -> Row:
    return [value for rows in table for row in rows for value in row]


def norm2(table: list[list[Row]]) -> float:
    return sum(value * value for value in flat(table))
