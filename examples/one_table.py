"""How sure are predictions for a fund with 60 known months among 819 of the market?"""

from foretell import FactorModel, TwoStageRegressor
from foretell.data.samples import demo_fund

demo = demo_fund("Money")
X, y = demo.table.drop(["Money"]), demo.table["Money"]

est = TwoStageRegressor(FactorModel(rank=3)).fit(X, y)
prediction = est.get_prediction(X.filter(~demo.labeled))
low, high = prediction.pred_int(0.95).T
truth = demo.truth[~demo.labeled]
inside = ((low <= truth) & (truth <= high)).mean()

print(est.summary())
print(f"95 % prediction intervals cover {100 * inside:.1f} % of {len(truth)} hidden months")
