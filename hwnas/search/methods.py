"""The methods that `hwnas search` knows: how a super-network is trained, and where candidates then come from."""

from dataclasses import dataclass
from typing import Literal

Candidates = Literal["evolution", "sampled", "random"]


@dataclass(frozen=True, slots=True)
class Method:
    """A published method as a combination of parts."""

    paper: str
    candidates: Candidates  # after the training; as many random ones are always evaluated beside them
    cost: str  # of the training, in steps of one network
    use: str  # when to take it
    paths: str | None = None  # a key of `supernet.PATH_SAMPLERS`: weights alone are trained
    distil: bool = False  # paths after a step's first learn what that one says
    relaxation: str | None = None  # a key of `supernet.RELAXATIONS`, or "reinforce": probabilities are trained too


METHODS: dict[str, Method] = {
    "spos": Method(
        paper="Single Path One-Shot, https://arxiv.org/abs/1904.00420",
        paths="uniform",
        candidates="evolution",
        cost="1",
        use="the default: cheap, any space, any number of limits, and the super-network serves other budgets too",
    ),
    "fairnas": Method(
        paper="FairNAS, https://arxiv.org/abs/1907.01845",
        paths="fair",
        candidates="evolution",
        cost="as many as a decision has choices",
        use="where the ranking of candidates matters more than the time: every choice is trained equally often",
    ),
    "sandwich": Method(
        paper="BigNAS, https://arxiv.org/abs/2003.11142",
        paths="sandwich",
        distil=True,
        candidates="evolution",
        cost="4",
        use="many budgets from one super-network: the largest network teaches the others",
    ),
    "proxyless": Method(
        paper="ProxylessNAS by gradient, https://arxiv.org/abs/1812.00332",
        relaxation="two_paths",
        candidates="sampled",
        cost="1, and a two-path step now and then",
        use="one budget, many choices: the memory of one network, the latency in the loss",
    ),
    "proxyless-rl": Method(
        paper="ProxylessNAS by REINFORCE, https://arxiv.org/abs/1812.00332",
        relaxation="reinforce",
        candidates="sampled",
        cost="1, and two evaluations now and then",
        use="as proxyless, where what counts has no gradient",
    ),
    "darts": Method(
        paper="DARTS, first order, https://arxiv.org/abs/1806.09055",
        relaxation="softmax",
        candidates="sampled",
        cost="as many as a decision has choices, memory too",
        use="small spaces; it tends to skips, and what is derived is not what was trained",
    ),
    "fbnet": Method(
        paper="FBNet, https://arxiv.org/abs/1812.03443; SNAS, https://arxiv.org/abs/1812.09926",
        relaxation="gumbel",
        candidates="sampled",
        cost="as many as a decision has choices, memory too",
        use="as darts, with samples that harden while the temperature falls",
    ),
    "gdas": Method(
        paper="GDAS, https://arxiv.org/abs/1910.04465",
        relaxation="hard_gumbel",
        candidates="sampled",
        cost="1, and a one-path step now and then",
        use="as darts, at the cost of one path",
    ),
    "random": Method(
        paper="random search with weight sharing, https://arxiv.org/abs/1902.07638",
        paths="uniform",
        candidates="random",
        cost="1",
        use="the baseline: what the others have to beat",
    ),
}
