"""Makes statistics.json: what public implementations say about intervals, tests and fits.

    python -m venv venv && venv/bin/pip install numpy scipy statsmodels scikit-learn ppi-python numba
    venv/bin/python scripts/oracles/statistics.py > crates/distill-eval/fixtures/statistics.json

Ran with numpy 2.4, scipy 1.17.1, statsmodels 0.15.0, scikit-learn 1.9.1, ppi-python 0.2.3; the
file names the versions it was made with. The tests read it and need no Python.

Where no public implementation exists, the expected value is found another way than the code finds
it, and the part says so: Tango's interval and the exact power by numerical maximisation of the
restricted likelihood and full enumeration, the chance to settle by numerical integration.
"""

import importlib.metadata
import json
import sys

import numpy
import scipy
import sklearn
import statsmodels
import statsmodels.api
from ppi_py import ppi_mean_pointestimate
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta, binom, binomtest, bootstrap, multinomial, norm, t
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

CONFIDENCES = [0.8, 0.95, 0.999]


def clopper_pearson_cases():
    """statsmodels (two-sided), checked against scipy; one-sided bounds by scipy's beta quantile."""
    for right, n in [(0, 1), (1, 1), (0, 20), (20, 20), (1, 10), (81, 263), (2716, 3080), (7, 12), (3, 20000), (149000, 150000)]:
        for confidence in CONFIDENCES:
            low, high = proportion_confint(right, n, alpha=1 - confidence, method="beta")
            low, high = (0.0 if right == 0 else low), (1.0 if right == n else high)
            check = binomtest(right, n).proportion_ci(confidence, method="exact")
            assert abs(check.low - low) < 1e-8 and abs(check.high - high) < 1e-8
            yield {"right": right, "n": n, "confidence": confidence, "low": low, "high": high,
                   "upper": 1.0 if right == n else beta.ppf(confidence, right + 1, n - right),
                   "lower": 0.0 if right == 0 else beta.ppf(1 - confidence, right, n - right + 1)}


def binomial_cases():
    """scipy, where a tail is computed far from where a continued fraction converges quickly."""
    for k, n, p in [(0, 5, 0.3), (3, 10, 0.5), (480, 1000, 0.5), (29, 1000, 0.05), (14950, 30000, 0.5),
                    (499000, 1000000, 0.5), (51000, 1000000, 0.05), (49000, 1000000, 0.05), (700, 800, 0.9)]:
        yield {"k": k, "n": n, "p": p, "at_most": binom.cdf(k, n, p), "point": binom.pmf(k, n, p)}


def large_mcnemar_cases():
    for b, c in [(10100, 9900), (30000, 30500), (250, 180)]:
        yield {"b": b, "c": c, "exact": mcnemar([[0, b], [c, 0]], exact=True).pvalue}


def kappa_cases():
    """statsmodels; kappa itself also scikit-learn's."""
    tables = [
        [[45, 15], [25, 15]], [[25, 35], [5, 35]], [[10, 0], [0, 10]], [[1, 2], [3, 4]],
        [[44, 5, 1], [7, 20, 3], [9, 5, 6]], [[120, 3, 0, 2], [4, 80, 7, 0], [0, 5, 60, 1], [3, 0, 2, 13]],
    ]
    for counts in tables:
        result = cohens_kappa(numpy.array(counts))
        first, second = [], []
        for row, line in enumerate(counts):
            for column, count in enumerate(line):
                first += [row] * count
                second += [column] * count
        assert abs(cohen_kappa_score(first, second) - result.kappa) < 1e-12
        for confidence in [0.9, 0.95]:
            half = norm.ppf((1 + confidence) / 2) * result.std_kappa
            yield {"counts": counts, "confidence": confidence, "kappa": result.kappa,
                   "low": max(result.kappa - half, -1), "high": min(result.kappa + half, 1)}


def prediction_powered_cases():
    """The value by ppi_py, tuned and with a fixed weight; the interval by numpy from the same
    formula with n - 1 below the variances, where ppi_py divides by n, and with two rows added to
    the variance of the correction, of the size of the root of its fourth over its second moment."""
    generator = numpy.random.default_rng(7)
    for few, many, noise in [(20, 200, 0.2), (60, 500, 0.05), (100, 150, 3.0)]:
        truth = generator.random(few + many)
        judge = truth + noise * generator.standard_normal(few + many) + 0.1
        human, judged, rest = truth[:few], judge[:few], judge[few:]
        for weight in [None, 0.0, 1.0, 0.4]:
            value = float(numpy.squeeze(ppi_mean_pointestimate(human, judged, rest, lam=weight)))
            if weight is None:
                # What ppi_py tuned it to, read back from its estimate, which is linear in it.
                used = (value - human.mean()) / (rest.mean() - judged.mean())
            else:
                used = weight
            correction = human - used * judged
            moments = [numpy.mean((correction - correction.mean()) ** power) for power in (2, 4)]
            error = numpy.sqrt(used**2 * rest.var(ddof=1) / many + correction.var(ddof=1) / few
                               + 2 * moments[1] / moments[0] / few**2)
            half = norm.ppf(0.975) * error
            yield {"human": human.tolist(), "judged": judged.tolist(), "rest": rest.tolist(), "fixed": weight,
                   "value": value, "weight": used, "low": value - half, "high": value + half, "confidence": 0.95}


def isotonic_cases():
    """scikit-learn, weighted and with ties: the fit at its own places and between them."""
    generator = numpy.random.default_rng(11)
    for n, places, weighted in [(1, 1, False), (8, 8, False), (60, 200, False), (60, 12, True), (200, 25, False)]:
        x = generator.integers(0, places, n) / places
        y = (generator.random(n) < 0.2 + 0.7 * x).astype(float)
        weights = generator.integers(1, 5, n).astype(float) if weighted else numpy.ones(n)
        model = IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=weights)
        asked = numpy.linspace(-0.1, 1.1, 37)
        yield {"x": x.tolist(), "y": y.tolist(), "weights": weights.tolist(), "fitted": model.predict(x).tolist(),
               "asked": asked.tolist(), "predicted": model.predict(asked).tolist()}


def clustered_cases():
    """scipy's BCa over whole clusters, given the draws and the statistic: paired differences of a
    mean and of a p95."""
    generator = numpy.random.default_rng(13)
    for name, clusters, draws in [("mean", 9, 300), ("p95", 15, 300), ("mean", 40, 500)]:
        of = numpy.sort(generator.integers(0, clusters, 4 * clusters))
        of = numpy.searchsorted(numpy.unique(of), of)
        count = int(of.max()) + 1
        first = generator.gamma(2.0, size=len(of)) + 0.3 * of / count
        second = generator.gamma(2.0, size=len(of))

        def statistic(picked):
            picked = numpy.asarray(picked).astype(int).ravel()
            rows = numpy.concatenate([numpy.flatnonzero(of == cluster) for cluster in picked])
            if name == "mean":
                return first[rows].mean() - second[rows].mean()
            return numpy.quantile(first[rows], 0.95) - numpy.quantile(second[rows], 0.95)

        # A draw of each cluster once gives the estimate itself, but for rounding: whether it counts as
        # a tie would hang on the order of a sum.
        picks = [generator.integers(0, count, count) for _ in range(2 * draws)]
        picks = [pick for pick in picks if len(set(pick)) < count][:draws]
        drawn = numpy.array([statistic(pick) for pick in picks])
        counts = [numpy.bincount(pick, minlength=count).tolist() for pick in picks]
        asked = {"method": "BCa", "confidence_level": 0.9, "vectorized": False}
        given = bootstrap((numpy.arange(count),), statistic, n_resamples=9, **asked)
        given.bootstrap_distribution = drawn
        result = bootstrap((numpy.arange(count),), statistic, n_resamples=0, bootstrap_result=given, **asked)
        assert len(result.bootstrap_distribution) == draws
        yield {"statistic": name, "clusters": of.tolist(), "first": first.tolist(), "second": second.tolist(),
               "counts": counts, "drawn": drawn.tolist(), "confidence": 0.9,
               "low": float(result.confidence_interval.low), "high": float(result.confidence_interval.high)}


def restricted_score(b, c, n, delta):
    """Tango's statistic, its restricted share found by maximising the likelihood numerically."""
    low, high = max(0.0, -delta), min(1.0, (1 - delta) / 2)

    def loss(q):
        total = 0.0
        for count, share in [(b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta)]:
            if count:
                total -= count * numpy.log(max(share, 1e-300))
        return total

    q = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    q = min([q, low, high], key=loss)
    return (b - c - n * delta) / numpy.sqrt(n * (2 * q + delta * (1 - delta)))


def power_cases():
    """Every table that can occur, and whether Tango's statistic passes, weighed by the trinomial.
    The statistic rests on a numerical maximum good to some 1e-8, which decides no table here."""
    for n, margin, discordance, difference, confidence in [
        (40, 0.1, 0.2, 0.0, 0.95), (60, 0.05, 0.1, 0.02, 0.9), (80, 0.08, 0.3, -0.25, 0.95), (30, 0.2, 0.25, 0.1, 0.8),
    ]:
        z = norm.ppf((1 + confidence) / 2)
        gained, lost = (discordance + difference) / 2, (discordance - difference) / 2
        above = difference > -margin
        total, nearest = 0.0, 1.0
        for b in range(n + 1):
            for c in range(n + 1 - b):
                score = restricted_score(b, c, n, -margin)
                passes = score > z if above else score < -z
                nearest = min(nearest, abs(abs(score) - z))
                if passes:
                    total += multinomial.pmf([b, c, n - b - c], n, [gained, lost, 1 - gained - lost])
        assert nearest > 1e-6, nearest
        yield {"n": n, "margin": margin, "discordance": discordance, "difference": difference,
               "confidence": confidence, "power": total}


def settle_cases():
    """The chance integrated over the truth."""
    for distance, reach, confidence, times in [(0.0, 0.04, 0.95, 3.0), (0.02, 0.04, 0.95, 2.0), (0.01, 0.03, 0.9, 10.0), (-0.02, 0.03, 0.99, 0.5)]:
        z = norm.ppf((1 + confidence) / 2)
        error = reach / z
        fresh = error / numpy.sqrt(times)

        def given(truth):
            settled = norm.sf((z * fresh - truth) / fresh) + norm.cdf((-z * fresh - truth) / fresh)
            return norm.pdf(truth, distance, error) * settled

        points = [distance + step * error for step in (-9, -3, -1, 0, 1, 3, 9)]
        total = sum(quad(given, left, right, epsabs=1e-13)[0] for left, right in zip(points, points[1:]))
        yield {"distance": distance, "reach": reach, "confidence": confidence, "times": times, "chance": total}


def line_cases():
    """statsmodels' least squares through learning curves, with known errors and without."""
    for sizes, values, errors in [
        ([500, 1000, 2000, 4000], [0.70, 0.75, 0.79, 0.82], None),
        ([750, 1500, 3000], [0.61, 0.70, 0.74], [0.02, 0.018, 0.017]),
        ([300, 600, 1200, 2400, 4800], [0.55, 0.62, 0.66, 0.73, 0.75], [0.03, 0.03, 0.02, 0.02, 0.01]),
    ]:
        x = statsmodels.api.add_constant(numpy.log2(sizes))
        if errors is None:
            model = statsmodels.api.OLS(values, x).fit()
            # The scatter as the code takes it: by residual degrees of freedom, as statsmodels does.
            slope, error = model.params[1], model.bse[1]
        else:
            model = statsmodels.api.WLS(values, x, weights=1 / numpy.square(errors)).fit()
            known = float(numpy.sqrt(model.normalized_cov_params[1, 1]))
            slope, error = model.params[1], max(model.bse[1], known)
        yield {"sizes": sizes, "values": values, "errors": errors, "slope": float(slope), "error": float(error),
               "t95": float(t.ppf(0.95, len(sizes) - 2))}


def main():
    json.dump(
        {
            "made_with": {"numpy": numpy.__version__, "scipy": scipy.__version__,
                          "statsmodels": statsmodels.__version__, "scikit-learn": sklearn.__version__,
                          "ppi-python": importlib.metadata.version("ppi-python")},
            "clopper_pearson": list(clopper_pearson_cases()),
            "binomial": list(binomial_cases()),
            "large_mcnemar": list(large_mcnemar_cases()),
            "kappa": list(kappa_cases()),
            "prediction_powered": list(prediction_powered_cases()),
            "isotonic": list(isotonic_cases()),
            "clustered": list(clustered_cases()),
            "power": list(power_cases()),
            "settle": list(settle_cases()),
            "line": list(line_cases()),
        },
        sys.stdout,
        default=float,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
