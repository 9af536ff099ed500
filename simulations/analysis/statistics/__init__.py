"""Statistics of simulated seeds: pure functions of arrays, generators passed in.

SciPy does what it does well; what it lacks (stratified bootstrap, effects and their intervals,
profiles, power) is here. Bad input is refused in one line, and never averaged over.
"""

from simulations.analysis.statistics.bootstrap import (
    LEAST_FOR_BOOTSTRAP,
    bootstrap_interval,
    resample,
)
from simulations.analysis.statistics.correlation import LEAST_FOR_CORRELATION, pearson, spearman
from simulations.analysis.statistics.discovery import benjamini_hochberg, benjamini_yekutieli
from simulations.analysis.statistics.effect import cohens_d, cohens_dz, noncentrality_interval
from simulations.analysis.statistics.estimate import Estimate, Outcome
from simulations.analysis.statistics.noncentral import noncentral_t_cdf
from simulations.analysis.statistics.paired import mean_estimate, paired_difference, paired_t_test
from simulations.analysis.statistics.permutation import permutation_test
from simulations.analysis.statistics.power import power_of_t_test, seeds_needed, simulated_power
from simulations.analysis.statistics.profiles import (
    Profile,
    dolan_more_profile,
    performance_ratios,
    score_profile,
)
from simulations.analysis.statistics.ranks import (
    LEAST_FOR_BRUNNER_MUNZEL,
    RankTest,
    brunner_munzel,
)
from simulations.analysis.statistics.robust import iqm

__all__ = [
    "LEAST_FOR_BOOTSTRAP",
    "LEAST_FOR_BRUNNER_MUNZEL",
    "LEAST_FOR_CORRELATION",
    "Estimate",
    "Outcome",
    "Profile",
    "RankTest",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bootstrap_interval",
    "brunner_munzel",
    "cohens_d",
    "cohens_dz",
    "dolan_more_profile",
    "iqm",
    "mean_estimate",
    "noncentral_t_cdf",
    "noncentrality_interval",
    "paired_difference",
    "paired_t_test",
    "pearson",
    "performance_ratios",
    "permutation_test",
    "power_of_t_test",
    "resample",
    "score_profile",
    "seeds_needed",
    "simulated_power",
    "spearman",
]
