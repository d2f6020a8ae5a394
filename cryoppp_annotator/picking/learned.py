"""The ``learned`` picker: a curator's few decisions, and what the undecided picks around them look like.

Places come from the ``log`` detector. Each is described by rotation-invariant numbers: the Fourier magnitudes, over
the angle, of the image on rings around it, and the likelihood that it shows one of the views of the particle
(``views``), which are found on these and on undecided micrographs. Fifty decisions are too few to learn a hundred
numbers from. So the likelihood, calibrated by the decisions, says of each *undecided* place on the same micrographs
how likely it is a particle; kernel ridge regression is fitted to these soft labels and to the decisions, which weigh
more. The regression finds what the likely places have in common, and so orders them better than the likelihood. Last, a
logistic function of its cross-validated output and of how much the edge cuts off makes it a probability
(``calibration``). The numbers are standardised within each micrograph, which takes much of defocus and ice out of them.

Many curators take nothing whose box sticks out of the micrograph, however good it looks; their labels end at a line.
Where it runs, if anywhere, is estimated from the decisions, too: a distribution over margins, by Bayes.

Measurements beside other pickers: docs/picking.md.

Kernel expansion: C. Williams & M. Seeger, NIPS 13 (2001) 682.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import expit
from threadpoolctl import threadpool_limits

from ..errors import AnnotatorError, EngineError
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.coordinates import FloatArray
from ..model.parameter import Need, Parameter
from .calibration import calibrate, logistic, parting
from .log import DISTANCE
from .model_file import Model, load_model
from .seen import SAME, Example, Seen, describe
from .suppress import in_polygons, suppress
from .views import Views, find_views, likelihood, pictures

_QUIET = JobContext()
#: Weight of the detector's score among the numbers.
_SCORE_WEIGHT = 0.18
#: Weight of the likelihood among the numbers.
_LIKELY_WEIGHT = 0.35
#: A standardised number is clipped at this, standard deviations.
_FAR = 5.0
#: Best places of a micrograph that views are found from.
_BEST = 385
#: The very best places, which are passed over: they may be ice.
_PASSED_OVER = 15
#: Weight of an accepted place when views are found; others count 1.
_ACCEPTED = 3.0
#: Width of the kernel, of the mean squared distance in a number.
_GAMMA = 0.3
#: Landmarks that the kernel is expanded in.
_LANDMARKS = 400
#: Ridge of the regression.
_RIDGE = 10.0
#: Weight of a decision; an undecided place counts 1.
_DECIDED = 5.0
#: What lies nearer to an accepted pick than so many diameters, and is not the pick's own candidate, is no particle.
_BESIDE = 0.5
#: The parting of the scores by themselves counts as so many decisions.
_PARTED = 20.0
#: Slope of the logistic function that stands for that parting.
_PARTED_SLOPE = 2.0
#: Fewest candidates that a micrograph's numbers are standardised by.
_OWN_STATISTICS = 40
#: Margins along the edge that a curator may leave free, diameters.
_MARGINS = np.round(np.arange(0.0, 1.55, 0.1), 1)
#: Prior probability that a curator leaves no margin free.
_NO_MARGIN = 0.3
#: Probability that a particle inside the margin is taken all the same.
_TAKEN_INSIDE = 0.03
#: Least distance of two proposed particles, diameters.
_DISTANCE = 0.5
#: Smallest probability that is proposed.
_LEAST_PROBABILITY = 0.05
_PROBABILITY = Parameter("threshold", "Smallest probability", _LEAST_PROBABILITY, 0.0, 1.0)
#: Decisions without which nothing is learned.
ENOUGH = 30
#: Accepted and rejected picks, of each, without which nothing is learned.
ENOUGH_OF_EACH = 3


def train(
    seen: Sequence[Seen],
    decided: Sequence[Example],
    *,
    undecided: Sequence[Seen] = (),
    diameter_A: float,
    polarity: str = "dark",
    context: JobContext,
) -> Model:
    """Learn from decisions.

    Parameters
    ----------
    seen : sequence of Seen
        Micrographs on which there are decisions.
    decided : sequence of Example
        Of the same micrographs.
    undecided : sequence of Seen
        Micrographs without decisions: the particle's views are found on them, too.
    diameter_A : float
        That the micrographs were described with.
    polarity : 'dark' or 'bright'
    context : JobContext
        The same decisions and seed give the same model.

    Raises
    ------
    EngineError
        Too few decisions.
    Cancelled
    """
    n_accepted = sum(int(e.accepted.sum()) for e in decided)
    n_rejected = sum(len(e.accepted) for e in decided) - n_accepted
    if why := too_few(n_accepted, n_rejected):
        raise EngineError(why)
    labels = [_labels(s, e) for s, e in zip(seen, decided, strict=True)]
    label = np.concatenate(labels)
    # what lies beside an accepted pick is never proposed: it tells what a particle is, not how sure one may be
    asked = np.concatenate([_asked(s, e) for s, e in zip(seen, decided, strict=True)])
    if not np.isfinite(label).any():
        raise EngineError("none of the decided picks lies on a micrograph where anything is seen")
    rng = context.rng()
    views = _views([*seen, *undecided], labels, rng, context)
    features = [_features(s, views, context) for s in seen]
    raw = np.concatenate(features)
    mean, spread = raw.mean(axis=0), raw.std(axis=0) + 1e-6
    scaled = np.concatenate([_scaled(table, mean, spread) for table in features])
    edge, away = np.concatenate([s.edge for s in seen]), np.concatenate([s.away for s in seen])
    context.check()
    chosen = np.sort(rng.choice(len(scaled), min(_LANDMARKS, len(scaled)), replace=False))
    landmarks = scaled[chosen]
    with threadpool_limits(1):
        whiten = _whitener(landmarks)
    context.progress(1, 3, "learning")
    # matrices of a few hundred rows: a second thread on a busy machine costs more than it brings
    with threadpool_limits(1):
        kernel = _kernel(scaled, landmarks) @ whiten
        context.progress(2, 3, "learning")
        margins = np.append(1.0, np.zeros(len(_MARGINS) - 1))
        for _ in range(2):
            # what was rejected for where it lies tells nothing of what a particle looks like
            apart = (label == 0.0) & (_outside(margins, away) < 0.5)
            shown = np.where(apart, np.nan, label)
            bias, weights, held_out = _fitted(kernel, shown, scaled[:, 2].astype(np.float64))
            answered = asked & np.isfinite(shown)
            slope, edge_slope, offset = calibrate(
                held_out[answered], edge[answered], shown[answered] > 0.5, bias + kernel @ weights
            )
            answered = asked & np.isfinite(label)
            p = expit(slope * held_out + edge_slope * edge + offset)
            margins = _margins(p[answered], away[answered], label[answered] > 0.5)
    return Model(
        landmarks,
        (whiten @ weights).astype(np.float32),
        bias,
        mean,
        spread,
        views.averages,
        views.shares,
        margins,
        slope,
        edge_slope,
        offset,
        diameter_A,
        polarity,
        n_accepted,
        n_rejected,
    )


def _views(seen: Sequence[Seen], labels: Sequence[FloatArray], rng: np.random.Generator, context: JobContext) -> Views:
    """Of the best places and the accepted ones, without the rejected; ``labels`` are the first micrographs'."""
    boxes, weights = [], []
    nobody = [np.full(len(s), np.nan) for s in seen[len(labels) :]]
    for of_micrograph, label in zip(seen, [*labels, *nobody], strict=True):
        order = np.argsort(-of_micrograph.numbers[:, 0], kind="stable")
        passed = min(_PASSED_OVER, len(order) // 20)
        weight = np.zeros(len(of_micrograph))
        weight[order[passed : passed + _BEST]] = 1.0
        weight[label == 1.0] = _ACCEPTED
        weight[label == 0.0] = 0.0
        white, x, y, diameter = of_micrograph.places
        chosen = weight > 0
        if not chosen.any():  # everything good was rejected: what is there, then
            chosen, weight = np.full(len(of_micrograph), True), np.ones(len(of_micrograph))
        if len(of_micrograph):
            boxes.append(pictures(white, x[chosen], y[chosen], diameter))
            weights.append(weight[chosen])
    with threadpool_limits(1):  # many small products of matrices: a second thread of theirs mostly waits
        return find_views(np.concatenate(boxes), np.concatenate(weights), rng, context)


def _features(seen: Seen, views: Views, context: JobContext) -> NDArray[np.float32]:
    """Numbers with the likelihood among them: (n, k + 1), not standardised."""
    if not len(seen):
        return np.zeros((0, seen.numbers.shape[1] + 1), np.float32)
    with threadpool_limits(1):
        likely = likelihood(views, *seen.places, context=context).astype(np.float32)
    return np.column_stack([seen.numbers[:, :2], likely, seen.numbers[:, 2:]])


def too_few(n_accepted: int, n_rejected: int) -> str:
    """Why so many decisions are not enough to learn from; empty where they are."""
    missing = ENOUGH - n_accepted - n_rejected
    if missing > 0:
        return (
            f"needs {ENOUGH} decided picks to learn from, {missing} more "
            f"({n_accepted} accepted and {n_rejected} rejected so far)"
        )
    if n_accepted < ENOUGH_OF_EACH:
        return f"needs at least {ENOUGH_OF_EACH} accepted picks to learn from ({n_accepted} so far)"
    if n_rejected < ENOUGH_OF_EACH:
        return f"needs at least {ENOUGH_OF_EACH} rejected picks to learn from ({n_rejected} so far): what is not one?"
    return ""


def _labels(seen: Seen, decided: Example) -> FloatArray:
    """1, 0, or NaN (undecided) for each candidate; 0 for one that lies beside an accepted pick's candidate."""
    out = np.full(len(seen), np.nan)
    if not len(seen) or not len(decided.x):
        return out
    tree = cKDTree(np.column_stack([seen.x, seen.y]))
    row, accepted = _rows(seen, decided, tree)
    good = decided.accepted & np.isfinite(decided.x) & np.isfinite(decided.y)
    for point in np.column_stack([decided.x, decided.y])[good]:
        out[tree.query_ball_point(point, _BESIDE * seen.diameter)] = 0.0
    for value in (False, True):  # where both were said of one place, accepted holds
        out[row[accepted == value]] = float(value)
    return out


def _asked(seen: Seen, decided: Example) -> NDArray[np.bool_]:
    """Whether the candidate itself was decided on."""
    out = np.zeros(len(seen), bool)
    if len(seen) and len(decided.x):
        out[_rows(seen, decided, cKDTree(np.column_stack([seen.x, seen.y])))[0]] = True
    return out


def _rows(seen: Seen, decided: Example, tree: Any) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Candidate of each decision that has one, and whether it was accepted."""
    good = np.isfinite(decided.x) & np.isfinite(decided.y)
    near = tree.query(np.column_stack([decided.x[good], decided.y[good]]))
    distance, row = np.asarray(near[0]), np.asarray(near[1], np.intp)
    close = distance <= SAME * seen.diameter
    return row[close], decided.accepted[good][close]


def _scaled(
    numbers: NDArray[np.float32], mean: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Numbers standardised within their micrograph (as in training, where it has few candidates), and weighted."""
    if len(numbers) >= _OWN_STATISTICS:
        mean, spread = numbers.mean(axis=0), numbers.std(axis=0) + 1e-6
    out = np.clip((numbers - mean) / spread, -_FAR, _FAR)
    weight = np.full(out.shape[1], 1.0 / math.sqrt(max(1, out.shape[1] - 3)))
    weight[:2], weight[2] = _SCORE_WEIGHT, _LIKELY_WEIGHT
    return np.asarray(out * weight, np.float32)


def _kernel(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-_GAMMA * cdist(a, b, "sqeuclidean")))


def _whitener(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """What makes of kernels with the landmarks coordinates whose scalar products are the kernel (Nystroem)."""
    values, vectors = scipy.linalg.eigh(_kernel(landmarks, landmarks))
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-5)))


def _fitted(kernel: NDArray[np.float64], label: FloatArray, score: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Ridge regression on decisions and, elsewhere, on what the likelihood under the views says.

    Returns bias, weights, and for each place (n,) what would come out if it were undecided.
    """
    known = np.isfinite(label)
    teacher = _teacher(score, label)
    target = np.where(known, label, teacher)
    weight = np.where(known, _DECIDED, 1.0)
    bias = float(np.average(target, weights=weight))
    product = (kernel * weight[:, None]).T
    matrix = product @ kernel
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    factor = scipy.linalg.cho_factor(matrix, lower=True)
    weights = np.asarray(scipy.linalg.cho_solve(factor, product @ (target - bias)))
    # a place that falls back from its decision to its teacher is a change of rank one
    held_out = bias + kernel @ weights
    mine = kernel[known]
    reach = np.einsum("ij,ji->i", mine, scipy.linalg.cho_solve(factor, mine.T))
    pull = (teacher[known] - bias) - _DECIDED * (label[known] - bias)
    held_out[known] = bias + (mine @ weights + pull * reach) / (1.0 + (1.0 - _DECIDED) * reach)
    return bias, weights, np.asarray(held_out)


def _teacher(score: FloatArray, label: FloatArray) -> FloatArray:
    """Probability of each place by its likelihood alone, (n,).

    ``score`` is standardised. The decisions may be about the best places only, or about doubtful ones: where the
    scores part by themselves counts as much as some decisions.
    """
    known = np.isfinite(label)
    z = (score - score.mean()) / (score.std() + 1e-9)
    parted = expit(_PARTED_SLOPE * (z - parting(z)))
    target = np.where(known, label, parted)
    weight = np.where(known, 1.0, _PARTED / max(1, int((~known).sum())))
    a, b = logistic(z[:, None], target, weight, np.array([_PARTED_SLOPE, 0.0]), np.array([0.3, 0.01]))
    return np.asarray(expit(a[0] * z + b))


def _margins(p: FloatArray, away: FloatArray, accepted: NDArray[np.bool_]) -> FloatArray:
    """How likely each of ``_MARGINS`` is what the curator leaves free, given what was decided; sums to 1.

    ``p`` (n,) is how likely each decided place would be accepted without a margin.
    """
    prior = np.full(len(_MARGINS), (1.0 - _NO_MARGIN) / (len(_MARGINS) - 1))
    prior[0] = _NO_MARGIN
    taken = p * np.where(away >= _MARGINS[:, None], 1.0, _TAKEN_INSIDE)
    log = np.log(prior) + np.log(np.where(accepted, taken, 1.0 - taken)).sum(axis=1)
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum())


def _outside(margins: FloatArray, away: FloatArray) -> FloatArray:
    """Probability that places so far from the edge, diameters, lie outside the margin, (n,)."""
    last = np.searchsorted(_MARGINS, away, side="right") - 1
    return np.asarray(np.cumsum(margins)[np.maximum(last, 0)])


def probability(model: Model, seen: Seen, context: JobContext = _QUIET) -> FloatArray:
    """Probability that each candidate is a particle the curator would accept, (n,) float64."""
    if not len(seen):
        return np.zeros(0)
    features = _features(seen, Views(model.averages, model.shares), context)
    output = model.bias + _kernel(_scaled(features, model.mean, model.spread), model.landmarks) @ model.weights
    looks = expit(model.slope * output + model.edge_slope * seen.edge + model.offset)
    return looks * _outside(model.margins, seen.away)


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class LearnedPicker:
    """An ``api.TunablePicker``; see the module.

    Parameters it takes: ``model`` (path of a model file, needed), ``distance`` (diameters), ``threshold``
    (probability), ``exclude`` (polygons).
    """

    name: str = "learned"
    title: str = "Learned from your decisions"
    parameters: tuple[Parameter, ...] = (DISTANCE, _PROBABILITY)
    needs: frozenset[Need] = frozenset({Need.MODEL})
    gives_probabilities: bool = True

    def why_not(self, parameters: Mapping[str, Any]) -> str:
        """See :class:`cryoppp_annotator.api.TunablePicker`."""
        model = parameters.get("model")
        if model is None:
            return "the learned picker needs a model"
        try:
            if isinstance(model, str | Path):
                load_model(Path(model))
        except AnnotatorError as error:
            return str(error)
        return ""

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """Propose particles; see :class:`cryoppp_annotator.api.Picker`.

        Parameters
        ----------
        image : (h, w) real, px of the micrograph, row 0 first

        Returns
        -------
        Candidates
            ``score``: the probability that the curator would accept it, 0 .. 1.

        Raises
        ------
        EngineError
            Without a model, too.
        Cancelled
        """
        options = dict(parameters)
        given = options.pop("model", None)
        distance, least = options.pop("distance", _DISTANCE), options.pop("threshold", _LEAST_PROBABILITY)
        exclude = options.pop("exclude", ())
        if options:
            raise EngineError(
                f"learned has no parameter {', '.join(sorted(options))} (it has model, distance, threshold, exclude)"
            )
        if given is None:
            raise EngineError("learned needs a model: decide about some picks, and let it learn from them first")
        model = given if isinstance(given, Model) else load_model(Path(given))
        seen = describe(
            image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, polarity=model.polarity, context=context
        )
        score = probability(model, seen, context)
        good = score >= least
        if len(exclude):
            good &= ~in_polygons(seen.x, seen.y, [np.asarray(p, np.float64) for p in exclude])
        x, y, score = seen.x[good], seen.y[good], score[good]
        kept = suppress(x, y, score, distance * seen.diameter)
        context.progress(1, 1, "done")
        return Candidates(x[kept], y[kept], score[kept], np.full(len(kept), float(diameter_A)))


#: The built-in picker (entry point ``learned``).
LEARNED = LearnedPicker()
