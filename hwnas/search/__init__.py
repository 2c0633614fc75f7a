"""Which architecture next. No torch: an evaluator is any callable."""

from collections.abc import Callable

from hwnas.search.constraint import Budget, Limit
from hwnas.search.evolution import Evolution, EvolutionConfig
from hwnas.search.from_probabilities import FromProbabilities
from hwnas.search.methods import METHODS, Method, Paths, Probabilities, Shrinking
from hwnas.search.random_search import RandomSearch
from hwnas.search.strategy import Evaluator, ReplayError, Strategy, Trial, search

STRATEGIES: dict[str, Callable[[Budget, int], Strategy]] = {"evolution": Evolution, "random": RandomSearch}

__all__ = [
    "METHODS",
    "STRATEGIES",
    "Budget",
    "Evaluator",
    "Evolution",
    "EvolutionConfig",
    "FromProbabilities",
    "Limit",
    "Method",
    "Paths",
    "Probabilities",
    "RandomSearch",
    "ReplayError",
    "Shrinking",
    "Strategy",
    "Trial",
    "search",
]
