"""Metrics against scikit-learn, and where they do not apply."""

import pytest
import torch

from reprogram import tasks


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("kind", ["probabilities", "log-scores", "tied"])
def test_metrics_agree_with_scikit_learn(classes, kind):
    from sklearn import metrics as reference

    generator = torch.Generator().manual_seed(classes)
    scores = torch.randn(200, classes, generator=generator).double()
    if kind == "tied":
        scores = (2 * scores).round() / 2
    targets = torch.arange(200) % classes
    scores[:, 0] += 0.7 * (targets == 0)
    weights = (torch.arange(200) % 7 > 0).float()
    given = scores if kind != "probabilities" else scores.softmax(1)
    found = tasks.metrics(given.clone(), targets, weights)
    kept = weights > 0
    best, truth = scores.argmax(1)[kept], targets[kept]
    chances = scores.softmax(1)[kept].numpy()
    expected = {
        "accuracy": reference.accuracy_score(truth, best),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, best),
        "macro_f1": reference.f1_score(truth, best, average="macro"),
        "roc_auc": reference.roc_auc_score(
            truth, chances[:, 1] if classes == 2 else chances, multi_class="ovr"
        ),
    }
    if classes == 2:
        difference = (given[:, 1] - given[:, 0])[kept]
        expected["pr_auc"] = reference.average_precision_score(truth, difference)
        expected["f1"] = reference.f1_score(truth, best)
    assert found == pytest.approx(expected, abs=1e-4 if kind == "tied" else 1e-9)
    assert set(found) == set(tasks.METRICS) - (set() if classes == 2 else {"pr_auc", "f1"})


@pytest.mark.parametrize("positives", [1, 3, 30])
def test_average_precision_of_rare_and_equal_scores(positives):
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(positives)
    score = torch.randint(0, 6, (200,), generator=generator).double()
    targets = (torch.randperm(200, generator=generator) < positives).long()
    found = tasks.metrics(torch.stack([-score, score], 1), targets, torch.ones(200))
    assert found["pr_auc"] == pytest.approx(average_precision_score(targets, score), abs=1e-12)
    constant = tasks.metrics(torch.zeros(200, 2), targets, torch.ones(200))
    assert constant["pr_auc"] == pytest.approx(positives / 200)
    assert constant["f1"] == 0 and constant["roc_auc"] == 0.5


def test_metrics_that_do_not_apply_are_absent():
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    one_class = tasks.metrics(scores, torch.tensor([1, 1]), torch.ones(2))
    assert set(one_class) == {"accuracy", "balanced_accuracy", "macro_f1", "pr_auc", "f1"}
    assert one_class["accuracy"] == 0.5 and one_class["pr_auc"] == 1
    none = tasks.metrics(-scores.log(), torch.tensor([0, 0]), torch.tensor([0.0, 1.0]))
    assert set(none) == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert tasks.metrics(scores, torch.tensor([1, 0]), torch.zeros(2)) == {}
