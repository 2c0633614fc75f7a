"""Which architecture next. No torch: an evaluator is any callable."""

from collections.abc import Callable

from hwnas.search.constraint import Budget, Limit
from hwnas.search.evolution import Evolution, EvolutionConfig
from hwnas.search.from_probabilities import FromProbabilities
from hwnas.search.landing import landing_told
from hwnas.search.methods import METHODS, Method, Paths, Probabilities, Shrinking
from hwnas.search.populations import one_by_one
from hwnas.search.random_search import RandomSearch
from hwnas.search.strategy import BatchStrategy, Evaluator, ReplayError, Strategy, Trial, search
from hwnas.search.ties import TIE_SHARE, by_preference, largest_first, tie_width, tied

STRATEGIES: dict[str, Callable[[Budget, int], Strategy]] = {"evolution": Evolution, "random": RandomSearch}

__all__ = [
    "METHODS",
    "STRATEGIES",
    "TIE_SHARE",
    "BatchStrategy",
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
    "by_preference",
    "landing_told",
    "largest_first",
    "one_by_one",
    "search",
    "tie_width",
    "tied",
]
