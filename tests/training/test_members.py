"""Linear networks solved exactly, members by folds, branches, and what adapts itself."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from songbag.audio.features import cepstrum_matrix
from songbag.audio.windows import window_starts
from songbag.console import Console
from songbag.data.bag import Bag
from songbag.data.dataset import MemoryDataset
from songbag.data.song import Song
from songbag.errors import SettingsError, TrainingError
from songbag.inference.model_file import load_model, save_model
from songbag.inference.predictor import Predictor
from songbag.metrics.calibration import branch_weights, fit_temperature
from songbag.metrics.label_kinds import MULTILABEL, SINGLE_LABEL
from songbag.models import build, linear_solver
from songbag.models.song_network import Ensemble, SongPooling
from songbag.models.song_statistics import WindowStatistics
from songbag.parts import poolings
from songbag.recipes import load_recipe
from songbag.settings import Own, Recipe, Training
from songbag.tasks import cross_validate
from songbag.training import checkpoint, fit, plan as plan_module
from songbag.training.adapt import adapt_recipe
from songbag.training.plan import TrainingPlan
from songbag.training.to_onnx import export_network

BANDS = 64
LBFGS = Training(network="statistics", optimizer="lbfgs", weight_decay=1.0)
RECIPE = load_recipe("auto", {"adapt.below_songs": 0, "training.epochs": 2, "training.folds": 2})


def made_songs(count, labels="abc", seconds=12.0, seed=0, artists=None):
    """Songs of noise in dB whose spectrum, or whose rate of swinging, tells the label."""
    rng, sound = np.random.default_rng(seed), RECIPE.sound
    samples = int(seconds * sound.sample_rate)
    bags = []
    for number in range(count):
        label = labels[number % len(labels)]
        frames = rng.normal(-40, 3, (1 + samples // sound.hop_length, BANDS)) + rng.normal(0, 6)
        which = labels.index(label)
        frames[:, 5 * which : 5 * which + 5] += rng.normal(3, 2)
        starts = window_starts(samples, sound, RECIPE.windows)
        artist = f"artist {number // len(labels) % artists}" if artists else f"artist {number}"
        name = f"song {number}"
        song = Song(id=name, path=f"{name}.wav", label=label, artist=artist)
        bags.append(Bag(song, frames.astype(np.float32), starts, -20.0, samples))
    return MemoryDataset(bags, "made")


def mean(classes, kind=SINGLE_LABEL):
    return SongPooling(poolings()["mean_logit"], classes, kind)


def test_statistics_are_what_numpy_computes():
    windows = np.random.default_rng(0).normal(-30, 8, (3, 108, BANDS)).astype(np.float32)
    statistics = WindowStatistics((108, BANDS))
    found, rates = statistics(torch.from_numpy(windows)).numpy(), statistics.rate.shape[1]
    levelled = windows.mean(axis=1) - windows.mean(axis=(1, 2))[:, None]
    np.testing.assert_allclose(found[:, :64], levelled, atol=1e-4)
    np.testing.assert_allclose(found[:, 64:128], windows.std(axis=1), atol=1e-3)
    np.testing.assert_allclose(found[:, 128:192], np.diff(windows, axis=1).std(axis=1), atol=1e-3)
    cubes = ((windows - windows.mean(axis=1, keepdims=True)) ** 3).mean(axis=1)
    wanted = cubes / (windows.std(axis=1) ** 3 + 1)
    np.testing.assert_allclose(found[:, 192:256], wanted, atol=1e-3)
    cepstra = windows @ cepstrum_matrix(BANDS, 20)
    covariance = [np.cov(one.T, bias=True)[np.triu_indices(20)] for one in cepstra]
    np.testing.assert_allclose(found[:, 256:466], covariance, rtol=2e-3, atol=2e-2)
    grouped = windows.reshape(3, 108, 16, 4).mean(axis=3)
    hann = np.hanning(109)[:108, None]
    power = np.abs(np.fft.rfft((grouped - grouped.mean(axis=1, keepdims=True)) * hann, axis=1)) ** 2
    slowest = np.log(power[:, 1] / 108 + 1e-3)
    np.testing.assert_allclose(found[:, 466::rates], slowest, atol=1e-3)


def test_statistics_do_not_hear_loudness():
    windows = torch.randn(4, 108, BANDS) * 8 - 40
    statistics = WindowStatistics((108, BANDS))
    np.testing.assert_allclose(statistics(windows + 12.0), statistics(windows), atol=2e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 22, 500])
@pytest.mark.parametrize("bands", [1, 2, 13, 128])
def test_statistics_take_windows_of_any_size_and_stay_finite(frames, bands):
    statistics = WindowStatistics((frames, bands))
    silence = torch.full((2, frames, bands), -100.0, requires_grad=True)
    found = statistics(silence)
    assert found.shape == (2, statistics.values)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(silence.grad).all()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("penalty", [0.03, 1.0])
def test_the_exact_solution_is_scikit_learns(classes, penalty):
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=60)
    x = rng.normal(5, 3, (60, 8)) + y[:, None] * rng.normal(0, 1, 8)
    network = build.build("linear", (8,), mean(classes), 0.0, None)
    head = linear_solver.linear_head(network)
    pooling = mean(classes)
    linear_solver.solve_head(head, torch.from_numpy(x), y, pooling, LBFGS, penalty)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    model = LogisticRegression(
        C=1 / (penalty * len(y)), class_weight="balanced", tol=1e-10, max_iter=2000
    ).fit(scaled, y)
    with torch.no_grad():
        found = network(torch.from_numpy(x.astype(np.float32))).softmax(dim=1)
    np.testing.assert_allclose(found, model.predict_proba(scaled), atol=2e-4)


def test_with_several_labels_every_label_is_its_own_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (80, 5))
    y = (x[:, :3] + rng.normal(0, 1, (80, 3)) > 0).astype(np.int64)
    network = build.build("linear", (5,), mean(3, MULTILABEL), 0.0, None)
    head = linear_solver.linear_head(network)
    linear_solver.solve_head(head, torch.from_numpy(x), y, mean(3, MULTILABEL), LBFGS, 0.1)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    found = torch.sigmoid(network(torch.from_numpy(x.astype(np.float32)))).detach()
    for label in range(3):  # the loss is the mean over labels, so each has a third of it
        model = LogisticRegression(C=1 / (3 * 0.1 * 80), tol=1e-10).fit(scaled, y[:, label])
        np.testing.assert_allclose(found[:, label], model.predict_proba(scaled)[:, 1], atol=2e-4)


def test_the_mean_of_solutions_says_the_mean_and_nobody_judges_what_he_learned():
    heard = made_songs(18)
    y = np.arange(18) % 3
    fold_of = np.arange(18) // 3 % 3
    shape = (108, BANDS)
    network = build.network_for(heard, LBFGS, shape, mean(3), Own())
    logits, row = linear_solver.solve_folds(network, heard, y, fold_of, mean(3), LBFGS)
    assert row["penalty"] in linear_solver.MULTIPLES
    again = build.network_for(heard, LBFGS, shape, mean(3), Own())
    x = linear_solver.song_features(again, heard)
    head, each = linear_solver.linear_head(again), []
    for fold in range(3):
        taught = torch.from_numpy(fold_of != fold)
        linear_solver.solve_head(
            head, x[taught], y[fold_of != fold], mean(3), LBFGS, row["penalty"]
        )
        with torch.no_grad():
            said = head.linear((x.float() - head.mean) / head.deviation).numpy()
        each.append(said)
        np.testing.assert_allclose(logits[fold_of == fold], said[fold_of == fold], atol=1e-4)
    with torch.no_grad():
        together = linear_solver.linear_head(network)
        mean_logits = together.linear((x.float() - together.mean) / together.deviation).numpy()
    np.testing.assert_allclose(mean_logits, np.mean(each, axis=0), atol=1e-4)


def test_an_ensemble_says_the_weighted_mean_window_by_window():
    torch.manual_seed(0)
    scale = torch.zeros(BANDS), torch.ones(BANDS)
    pooling = mean(3)
    networks = [
        build.build(name, (108, BANDS), pooling, 0.0, one).eval()
        for name, one in (("cnn", scale), ("cnn", scale), ("statistics", None))
    ]
    ensemble = Ensemble([networks[:2], networks[2:]], [0.5, 2.0], pooling).eval()
    assert ensemble.time_stride == networks[0].time_stride
    frames, starts = torch.randn(1, 400, BANDS), torch.arange(0, 200, 8)
    with torch.no_grad():
        each = [one.song(frames, starts) for one in networks]
        each = [one - one.mean(dim=-1, keepdim=True) for one in each]
        together = ensemble.song(frames, starts)
    wanted = 0.25 * each[0] + 0.25 * each[1] + 2.0 * each[2]
    assert (together - wanted).abs().max() <= 1e-4
    song = pooling.song(together)
    contributions = pooling.contributions(together, song)
    members_said = [pooling.contributions(one, pooling.song(one)) for one in each]
    average = 0.25 * members_said[0] + 0.25 * members_said[1] + 2.0 * members_said[2]
    assert (contributions - average).abs().max() <= 1e-5
    assert (contributions.sum(dim=1) - song).abs().max() <= 1e-5
    assert len(export_network(ensemble, True, 8)) > 10_000  # checked against torch on the way


def test_branches_are_weighed_by_what_they_know():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    one, two = (np.eye(3)[y] * 1.5 + rng.normal(0, 1, (300, 3)) for _ in range(2))
    noise = rng.normal(0, 3, (300, 3))
    alone = [fit_temperature(table, y, SINGLE_LABEL).nll_after for table in (one, two)]
    weights = branch_weights([one, two], y, SINGLE_LABEL)
    both = weights[0] * one + weights[1] * two
    assert fit_temperature(both, y, SINGLE_LABEL).nll_after < min(alone) - 0.05
    assert 0.5 < weights[0] / weights[1] < 2
    weight, of_noise = branch_weights([one, noise], y, SINGLE_LABEL)
    assert of_noise < 0.05 * weight
    assert branch_weights([one], y, SINGLE_LABEL) == [1.0]
    scaled = branch_weights([one, 5 * two], y, SINGLE_LABEL)  # whatever unit a branch speaks in
    np.testing.assert_allclose(scaled[0] * one + scaled[1] * 5 * two, both, atol=0.02)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model of all branches in two folds each, and the songs it was learned from."""
    heard = made_songs(24)
    path = tmp_path_factory.mktemp("members") / "auto.songbag"
    plan = TrainingPlan(RECIPE, ("a", "b", "c"), Console(quiet=True), threads=1)
    fitted = fit.fit(heard, plan)
    save_model(path, fitted.model)
    return heard, path, fitted, plan


def test_one_file_holds_all_members(learned):
    heard, path, fitted, _ = learned
    model = load_model(path)
    assert any(row["layer"].startswith("2 x ") for row in model.card.layers)
    assert {row["member"] for row in fitted.history} == {1, 2}
    found = Predictor(model).predict(iter([heard[0].features]), lambda: heard[0].samples)
    assert found.probabilities.sum() == pytest.approx(1)
    assert np.abs(found.contributions.sum(axis=0) - found.score).max() <= 1e-5


def test_a_label_of_one_artist_cannot_be_cross_validated():
    """No model could both learn it and meet it; silence about it would be a wrong figure."""
    songs = [Song(f"{k}", f"{k}.wav", "ab"[k % 2], f"artist {k % 2 * k}") for k in range(12)]
    fold_of = np.array([0 if song.label == "a" else k % 3 for k, song in enumerate(songs)])
    with pytest.raises(TrainingError, match="labelled 'a' fall into one fold"):
        cross_validate.require_learnable(songs, fold_of)
    cross_validate.require_learnable(songs, np.arange(12) // 2 % 3)


def test_members_are_not_trained_again_after_a_stop(learned, tmp_path, monkeypatch):
    heard, path, _, plan = learned
    kept = tmp_path / "auto.songbag"
    real, calls = fit.fit_network, []

    def stop_at_second(*arguments):
        calls.append(arguments[3])
        if len(calls) == 2:
            raise RuntimeError("the power went")
        return real(*arguments)

    monkeypatch.setattr(fit, "fit_network", stop_at_second)
    with pytest.raises(RuntimeError):
        fit.fit(heard, plan, model_path=kept)
    monkeypatch.setattr(fit, "fit_network", real)
    assert len(list(tmp_path.glob("*.state"))) == 1
    save_model(kept, fit.fit(heard, plan, model_path=kept, resume=True).model)
    checkpoint.remove_checkpoints(kept)
    assert kept.read_bytes() == path.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == ["auto.songbag"]


def test_no_fold_takes_the_only_songs_of_a_label(capsys):
    plan = TrainingPlan(RECIPE, ("a", "b", "c"), Console())
    heard = made_songs(12, artists=2)
    fold_of = plan_module.assign_folds(heard.songs, 5, plan)
    assert set(fold_of) == {0, 1}  # two artists a label allow two folds
    assert plan_module.assign_folds(made_songs(12, artists=1).songs, 5, plan) is None
    assert "is not calibrated" in capsys.readouterr().err


def test_few_songs_take_the_last_branch_and_say_so(capsys):
    recipe = load_recipe("auto")
    found = adapt_recipe(recipe, made_songs(12), Console())
    assert [one.network for one in found.trainings] == ["statistics"]
    assert found.training.folds == recipe.training.folds
    assert "12 songs are too few" in capsys.readouterr().err
    assert adapt_recipe(RECIPE, made_songs(12), Console()).trainings == RECIPE.trainings


def test_short_recordings_get_short_windows_and_many_songs_fewer_epochs(capsys):
    short = adapt_recipe(RECIPE, made_songs(9, seconds=4.0), Console())
    assert (short.windows.seconds, short.windows.hop_seconds) == (2.0, 1.0)
    tiny = adapt_recipe(RECIPE, made_songs(9, seconds=0.5), Console())
    assert tiny.windows.seconds == 1.0
    many = load_recipe("auto", {"adapt.most_visits": 90, "adapt.below_songs": 0})
    assert adapt_recipe(many, made_songs(9), Console()).training.epochs == 10
    said = capsys.readouterr().err
    assert "windows of 2 s instead of 5 s" in said
    assert "10 instead of 60" in said


def test_what_is_not_linear_is_not_solved():
    for changes in ({"training.pooling": "vote"}, {"training.loss": "window"}):
        with pytest.raises(TrainingError, match="'lbfgs' solves linear networks"):
            plan_module.require_trainable(load_recipe("fast", changes))
    with pytest.raises(SettingsError, match="nothing could weigh them"):
        Recipe("mine", branches=(LBFGS,))
