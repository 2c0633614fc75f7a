"""What whole networks tell beyond a calibrated sum, by where their time goes: log(measured / sum) from shares.

A share is what a group of operators adds up to per millisecond of the table. All kinds of corrections start from linear
combinations of shares, which are quotients of two sums over operators: so many architectures are corrected at once, and
gates with a gradient. A ridge regression, small neural networks, or boosted trees: which one, if any, errors on
networks left out decide. A correction is never outside what the networks it is fitted on needed.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Record = dict[str, Any]
ALPHAS = np.logspace(-3, 3, 13)  # of the ridge, on standardised columns
HIDDEN, NETWORKS, ITERATIONS = 4, 3, 60  # units of each small network; how many are averaged, of other first weights
WEIGHT_DECAYS = (1.0, 3.0, 10.0)  # of which left-out errors take one
TREES, DEPTH, SHRINKAGE, LEAST_IN_LEAF = 60, 2, 0.1, 2
FOLDS, INNER_FOLDS = 10, 5


@dataclass(frozen=True)
class Ridge:
    """intercept + sum of weights x shares."""

    intercept: float
    weights: Mapping[str, float]
    lowest: float
    highest: float

    @property
    def combinations(self) -> Sequence[Mapping[str, float]]:
        """Of each linear combination of shares that it starts from, the weights by name."""
        return (self.weights,)

    def logs(self, combined: Floats) -> Floats:
        """combined: (networks, combinations) -> (networks,)"""
        found: Floats = self.intercept + combined[:, 0]
        return found

    def expected_logs(self, combined: "torch.Tensor") -> "torch.Tensor":
        """combined: (combinations,) -> a scalar; differentiable."""
        return self.intercept + combined[0]

    @classmethod
    def fit(cls, names: Sequence[str], shares: Floats, log_ratio: Floats) -> "Ridge":
        """shares: (networks, names)."""
        intercept, coefficients = ridge(shares, log_ratio)
        return cls(intercept, dict(zip(names, coefficients.tolist(), strict=True)), *_ends(log_ratio))


@dataclass(frozen=True)
class Perceptron:
    """intercept + sum over hidden units of out x tanh(constant + sum of weights x shares): several networks' mean."""

    intercept: float
    names: Sequence[str]
    weights: Sequence[Sequence[float]]  # (units, names)
    constants: Sequence[float]  # (units,)
    outs: Sequence[float]  # (units,)
    lowest: float
    highest: float

    @property
    def combinations(self) -> Sequence[Mapping[str, float]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.weights]

    def logs(self, combined: Floats) -> Floats:
        found: Floats = self.intercept + np.tanh(combined + np.array(self.constants)) @ np.array(self.outs)
        return found

    def expected_logs(self, combined: "torch.Tensor") -> "torch.Tensor":
        hidden = (combined + combined.new_tensor(self.constants)).tanh()
        return self.intercept + hidden @ combined.new_tensor(self.outs)

    @classmethod
    def fit(cls, names: Sequence[str], shares: Floats, log_ratio: Floats) -> "Perceptron":
        """shares: (networks, names). On standardised columns, the weight decay by errors on networks left out."""
        mean, scale = shares.mean(axis=0), spreads(shares)
        x, centre, unit = (shares - mean) / scale, float(log_ratio.mean()), float(log_ratio.std()) or 1.0
        y = (log_ratio - centre) / unit
        decay = min(WEIGHT_DECAYS, key=lambda d: _error(x, y, d)) if len(y) > FOLDS else max(WEIGHT_DECAYS)
        models = [_network(x, y, decay, seed) for seed in range(NETWORKS)]
        weights = np.concatenate([model.coefs_[0].T for model in models]) / scale
        constants = np.concatenate([model.intercepts_[0] for model in models]) - weights @ mean
        outs = unit / NETWORKS * np.concatenate([model.coefs_[1][:, 0] for model in models])
        intercept = centre + unit * float(np.mean([model.intercepts_[1][0] for model in models]))
        return cls(intercept, list(names), weights.tolist(), constants.tolist(), outs.tolist(), *_ends(log_ratio))


def _error(x: Floats, y: Floats, decay: float) -> float:
    found = left_out(
        lambda kept, out: np.asarray(_network(x[kept], y[kept], decay, 0).predict(x[out])), len(y), INNER_FOLDS
    )
    return float(np.abs(found - y).mean())


def _network(x: Floats, y: Floats, decay: float, seed: int) -> MLPRegressor:
    model = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,),
        activation="tanh",
        solver="lbfgs",
        alpha=decay,
        max_iter=ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is bounded may end before
        return model.fit(x, y)


@dataclass(frozen=True)
class Trees:
    """intercept + sum of the leaves that boosted trees come to, all trees' nodes in one list."""

    intercept: float
    names: Sequence[str]
    roots: Sequence[int]
    feature: Sequence[int]  # of each node, an index of `names`
    threshold: Sequence[float]  # up to it, go left
    left: Sequence[int]  # of a leaf, itself
    right: Sequence[int]
    value: Sequence[float]
    lowest: float
    highest: float

    @property
    def combinations(self) -> Sequence[Mapping[str, float]]:
        return [{name: 1.0} for name in self.names]

    def logs(self, combined: Floats) -> Floats:
        feature, left, right = (np.array(a, dtype=np.intp) for a in (self.feature, self.left, self.right))
        threshold, value, each = np.array(self.threshold), np.array(self.value), np.arange(len(combined))
        total = np.full(len(combined), self.intercept)
        for root in self.roots:
            at = np.full(len(combined), root, dtype=np.intp)
            for _ in range(DEPTH):
                at = np.where(combined[each, feature[at]] <= threshold[at], left[at], right[at])
            total += value[at]
        return total

    def expected_logs(self, combined: "torch.Tensor") -> "torch.Tensor":
        """A constant: steps have no gradient."""
        return combined.new_tensor(self.logs(combined.detach().cpu().double().numpy()[None])[0])

    @classmethod
    def fit(cls, names: Sequence[str], shares: Floats, log_ratio: Floats) -> "Trees":
        """shares: (networks, names)."""
        model = GradientBoostingRegressor(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=SHRINKAGE, min_samples_leaf=LEAST_IN_LEAF, random_state=0
        ).fit(shares, log_ratio)
        trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        nodes = [_nodes(tree, int(root)) for tree, root in zip(trees, roots, strict=True)]
        feature, threshold, left, right, value = (np.concatenate(parts).tolist() for parts in zip(*nodes, strict=True))
        intercept = float(np.mean(log_ratio))
        return cls(intercept, list(names), roots.tolist(), feature, threshold, left, right, value, *_ends(log_ratio))


def _nodes(tree: Any, root: int) -> tuple[NDArray[Any], ...]:
    """(feature, threshold, left, right, value) of scikit-learn's tree, its nodes numbered from `root` on."""
    own, is_leaf = np.arange(tree.node_count), tree.children_left < 0
    left, right = (np.where(is_leaf, own, child) + root for child in (tree.children_left, tree.children_right))
    value = SHRINKAGE * tree.value[:, 0, 0]
    return np.where(is_leaf, 0, tree.feature), np.where(is_leaf, 0.0, tree.threshold), left, right, value


Correction = Ridge | Perceptron | Trees
NO_CORRECTION = Ridge(0.0, {}, 0.0, 0.0)
CORRECTIONS: Mapping[str, type[Correction]] = {
    "ridge": Ridge,
    "perceptron": Perceptron,
    "trees": Trees,
}
FITTED = ("ridge", "perceptron")  # what is tried, the simplest first; trees gained nothing: docs/transfer.md


def kind_of(correction: Correction) -> str:
    """Its name in CORRECTIONS."""
    return next(name for name, kind in CORRECTIONS.items() if isinstance(correction, kind))


def as_record(correction: Correction) -> Record:
    """What `predictor.json` holds of a correction."""
    return {"kind": kind_of(correction), **asdict(correction)}


def from_record(record: Mapping[str, Any]) -> Correction:
    """And back."""
    fields = {name: value for name, value in record.items() if name != "kind"}
    return CORRECTIONS[record.get("kind", "ridge")](**fields)


def ridge(x: Floats, y: Floats, weights: ArrayLike | None = None) -> tuple[float, Floats]:
    """(intercept, a coefficient per column) of x: (networks, columns) -> y: (networks,)."""
    scale = spreads(x)
    model = RidgeCV(ALPHAS).fit((x - x.mean(axis=0)) / scale, y, sample_weight=weights)
    coefficients: Floats = model.coef_ / scale
    return float(model.intercept_ - x.mean(axis=0) @ coefficients), coefficients


def spreads(x: Floats) -> Floats:
    """(columns,) standard deviations; infinite of a constant column, which then gets no weight."""
    spread = x.std(axis=0)
    found: Floats = np.where(spread > 1e-12 * np.abs(x).max(axis=0), spread, np.inf)
    return found


def left_out(predict: Callable[[Indices, Indices], Floats], networks: int, folds: int = FOLDS) -> Floats:
    """(networks,): each by a fit without it; predict: (kept, wanted) -> (wanted,)."""
    found = np.empty(networks)
    for kept, out in _folds(networks, folds):
        found[out] = predict(kept, out)
    return found


def _folds(networks: int, folds: int) -> Iterator[tuple[Indices, Indices]]:
    """(kept, left out): every tenth network, say; so those that came spread over the latencies are in all folds."""
    everyone = np.arange(networks)
    for fold in range(folds):
        yield everyone[everyone % folds != fold], everyone[everyone % folds == fold]


def _ends(log_ratio: Floats) -> tuple[float, float]:
    return float(log_ratio.min()), float(log_ratio.max())
