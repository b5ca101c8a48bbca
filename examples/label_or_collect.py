"""Label more rows, or collect more unlabeled ones? A forecast, and what really happens."""

import numpy as np

from foretell import FactorModel, TwoStageRegressor, simulate
from foretell.theory import FactorPopulation

pop = FactorPopulation(np.eye(30)[:, :2] * [2.0, 1.5], 1.0, [1.0, -0.5], 0.3)
X, y = pop.sample_labeled(3000, random_state=0)
y[500:] = np.nan  # 500 labels, 2,500 rows without

est = TwoStageRegressor(FactorModel(rank=2)).fit(X, y)
for n_unlabeled, n_labeled in [(2500, 500), (2500, 1000), (10000, 500)]:
    forecast = est.excess_risk(n_unlabeled=n_unlabeled, n_labeled=n_labeled).mean()
    sim = simulate(
        pop, est, n_unlabeled=n_unlabeled, n_labeled=n_labeled, n_replicates=100, random_state=0
    )
    actual, se = sim.excess_risk.mean(), sim.excess_risk.std() / 10
    print(f"m={n_unlabeled} n={n_labeled}: forecast {forecast:.5f}, actual {actual:.5f}±{se:.5f}")
