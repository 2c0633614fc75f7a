"""Which architecture next. No torch: an evaluator is any callable."""

from collections.abc import Callable

from hwnas.search.constraint import Budget, Limit
from hwnas.search.evolution import Evolution, EvolutionConfig
from hwnas.search.random_search import RandomSearch
from hwnas.search.strategy import Evaluator, ReplayError, Strategy, Trial, search

STRATEGIES: dict[str, Callable[[Budget, int], Strategy]] = {"evolution": Evolution, "random": RandomSearch}

__all__ = [
    "STRATEGIES",
    "Budget",
    "Evaluator",
    "Evolution",
    "EvolutionConfig",
    "Limit",
    "RandomSearch",
    "ReplayError",
    "Strategy",
    "Trial",
    "search",
]
