"""The methods that `hwnas search` knows: how a super-network is trained, and where candidates then come from."""

from dataclasses import dataclass
from typing import Literal

Candidates = Literal["evolution", "sampled", "random"]
DEFAULT_METHOD = "sandwich"
DEFAULT_EPOCHS = 60  # of a super-network of which a step trains one network
BY_REWARD = ("reinforce", "controller")  # ways of training probabilities that ask what a network is worth


@dataclass(frozen=True, slots=True)
class Paths:
    """Weights alone are trained, along the paths of a sampler."""

    sampler: str  # a key of `supernet.PATH_SAMPLERS`
    distil: bool = False  # paths after a step's first learn what that one says


@dataclass(frozen=True, slots=True)
class Shrinking:
    """Weights alone are trained: of the largest network, then of smaller ones too, phase by phase."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Probabilities are trained beside the weights: what of `supernet.ArchitectureConfig` is the method's own."""

    relaxation: str  # a key of `supernet.RELAXATIONS`, or one of BY_REWARD
    unrolled: bool = False  # second order
    warmup_share: float = 0.25  # of the weight steps: weights only, as ProxylessNAS' 40 of 160 epochs
    lr: float = 0.05  # of Adam; ProxylessNAS' 0.001 is for its hundred thousand steps
    entropy_weight: float = 0.0  # of what keeps REINFORCE from being certain too soon


@dataclass(frozen=True, slots=True)
class Method:
    """A published method as a combination of parts."""

    paper: str
    trains: Paths | Shrinking | Probabilities
    cost: str  # of the training, in steps of one network
    use: str  # when to take it
    evolves: bool = True  # where only weights are trained; else its candidates are the random ones
    paths: int = 1  # that a step trains, where that is so in every space

    @property
    def epochs(self) -> int:
        """Of the super-network, where the user does not say: they cost what DEFAULT_EPOCHS of one path do."""
        return DEFAULT_EPOCHS // self.paths

    @property
    def candidates(self) -> Candidates:
        """Where they come from after the training; as many random ones are always evaluated beside them."""
        if isinstance(self.trains, Probabilities):
            return "sampled"
        return "evolution" if self.evolves else "random"

    @property
    def has_latency_loss(self) -> bool:
        """Whether the expected latency is in a loss that anything is trained on."""
        return isinstance(self.trains, Probabilities)

    @property
    def has_cross_entropy(self) -> bool:
        """Whether what it is trained with has a value, by which a product of losses multiplies."""
        return isinstance(self.trains, Probabilities) and not self.learns_by_reward

    @property
    def learns_by_reward(self) -> bool:
        """Whether probabilities are trained on what sampled networks are worth: REINFORCE."""
        return isinstance(self.trains, Probabilities) and self.trains.relaxation in BY_REWARD

    @property
    def asks_reward(self) -> bool:
        """Whether anything in the method depends on what a candidate is worth."""
        return self.learns_by_reward if isinstance(self.trains, Probabilities) else self.evolves


METHODS: dict[str, Method] = {
    "spos": Method(
        paper="Single Path One-Shot, https://arxiv.org/abs/1904.00420",
        trains=Paths("uniform"),
        cost="1",
        use="cells, whose choices share no weights; any space, and the super-network serves other budgets too",
    ),
    "spos-cost": Method(
        paper="Single Path One-Shot as its authors train it, https://arxiv.org/abs/1904.00420",
        trains=Paths("uniform_cost"),
        cost="1",
        use="as spos, where the budget is near the fastest or the slowest network: few uniform paths are",
    ),
    "fairnas": Method(
        paper="FairNAS, https://arxiv.org/abs/1907.01845",
        trains=Paths("fair"),
        cost="as many as a decision has choices",
        use="small spaces, with time: every choice is trained equally often",
    ),
    "sandwich": Method(
        paper="BigNAS, https://arxiv.org/abs/2003.11142",
        trains=Paths("sandwich", distil=True),
        cost="4",
        paths=4,
        use="the default: ranks best for its time; any number of budgets and limits from one super-network",
    ),
    "ofa": Method(
        paper="Once-for-All, progressive shrinking, https://arxiv.org/abs/1908.09791",
        trains=Shrinking(),
        cost="1 to 4, and the teacher's evaluation",
        use="as sandwich, with time: kernels, depths and widths join one after the other; wants many epochs",
    ),
    "proxyless": Method(
        paper="ProxylessNAS by gradient, https://arxiv.org/abs/1812.00332",
        trains=Probabilities("two_paths"),
        cost="1, and a two-path step now and then",
        use="one budget, many choices: the memory of one network, the latency in the loss",
    ),
    "proxyless-rl": Method(
        paper="ProxylessNAS by REINFORCE, https://arxiv.org/abs/1812.00332",
        trains=Probabilities("reinforce"),
        cost="1, and two evaluations now and then",
        use="as proxyless, where what counts has no gradient",
    ),
    "enas": Method(
        paper="ENAS, https://arxiv.org/abs/1802.03268",
        trains=Probabilities("controller", lr=0.0035, entropy_weight=1e-4),  # the official trainer's, of its cells
        cost="1, and two evaluations now and then",
        use="as proxyless-rl, where one decision's best choice depends on another's; wants many steps",
    ),
    "darts": Method(
        paper="DARTS, first order, https://arxiv.org/abs/1806.09055",
        trains=Probabilities("softmax"),
        cost="as many as a decision has choices, memory too",
        use="small spaces; it tends to skips, and what is derived is not what was trained",
    ),
    "darts-second-order": Method(
        paper="DARTS, second order, https://arxiv.org/abs/1806.09055",
        trains=Probabilities("softmax", unrolled=True),
        cost="as darts, its steps of the probabilities four times",
        use="as darts, where its probabilities follow weights that are not trained yet",
    ),
    "fbnet": Method(
        paper="FBNet, https://arxiv.org/abs/1812.03443; SNAS, https://arxiv.org/abs/1812.09926",
        trains=Probabilities("gumbel", warmup_share=10 / 90),  # FBNet's first 10 of 90 epochs
        cost="as many as a decision has choices, memory too",
        use="as darts, with samples that harden while the temperature falls",
    ),
    "gdas": Method(
        paper="GDAS, https://arxiv.org/abs/1910.04465",
        trains=Probabilities("hard_gumbel"),
        cost="1, and a one-path step now and then",
        use="as darts, at the cost of one path",
    ),
    "random": Method(
        paper="random search with weight sharing, https://arxiv.org/abs/1902.07638",
        trains=Paths("uniform"),
        evolves=False,
        cost="1",
        use="the baseline: what the others have to beat",
    ),
}
