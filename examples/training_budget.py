"""Contrastive pre-training on m pairs, stopped at time t: train longer, or collect more?"""

import numpy as np

from foretell.theory import ViewPopulation
from foretell.theory.factorization.early_stopping import early_stopping
from foretell.theory.factorization.training_budget import TrainingBudget

m, n = 2000, 500
pop = ViewPopulation(np.eye(20)[:, :3] * [2.5, 1.5, 0.9], 1.0, [0.8, -0.5, 1.0], 0.3)
budget = TrainingBudget(pop, rank=3)
print(budget.curve([0.5, 1, 2, 3, 4, 6], m, n).summary())
enough = budget.time_enough(m, n, share=0.1)
print(f"After t = {enough:.2f} unfinished training is a tenth of what finite samples cost.")
for t in (enough / 2, enough):
    print("Instead of data:", budget.worth(t, m, n).summary())

few = early_stopping(pop, 20, 60, 50, [0.2, 0.4, 0.6, 1, 2, 5], 200, penalty=0.03)
print("Few rows, 20 features, ridge:", few.summary())
