#!/usr/bin/env python3
"""One peer on one task, in a process of its own: fitted on reference.h5ad, asked for the cells of query.h5ad.

Writes predictions.csv (cell, label, confidence, novelty) and run.json (seconds, peak memory) into the task's folder.
All but scanvi see nothing of the query before they are fitted. Seconds are those of fitting and asking: imports and
reading the files take no part.
"""

import json
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd
import scipy.sparse as sp

#: What a fitted peer is: query cells -> label and confidence of each.
Fitted = Callable[[ad.AnnData], tuple[np.ndarray, np.ndarray]]
N_FEATURES = 2000
UNASSIGNED = "Unknown"


def log_normalised(cells: ad.AnnData) -> ad.AnnData:
    """A copy as log1p of counts per ten thousand."""
    import scanpy as sc

    cells = cells.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells


def variable_genes(normalised: ad.AnnData) -> list[str]:
    """The N_FEATURES most variable genes of log-normalised cells, or all where there are no more."""
    import scanpy as sc

    if normalised.n_vars <= N_FEATURES:
        return list(normalised.var_names)
    found = sc.pp.highly_variable_genes(normalised, n_top_genes=N_FEATURES, inplace=False)
    return list(normalised.var_names[found["highly_variable"].to_numpy()])


class Normalised:
    """Log-normalised variable genes of the reference, and of queries in the same way.

    scaled: as z-scores by the reference's mean and spread, within -10 to 10.
    """

    def __init__(self, reference: ad.AnnData, scaled: bool):
        normalised = log_normalised(reference)
        self.genes = variable_genes(normalised)
        values = normalised[:, self.genes].X.toarray()
        self.mean, self.spread = (values.mean(0), values.std(0)) if scaled else (np.zeros(1), np.ones(1))
        self.spread[self.spread < 1e-8] = 1
        self.limit = 10 if scaled else np.inf
        self.reference = self._scale(values)

    def _scale(self, values: np.ndarray) -> np.ndarray:
        return np.clip((values - self.mean) / self.spread, -self.limit, self.limit).astype(np.float32)

    def __call__(self, query: ad.AnnData) -> np.ndarray:
        return self._scale(log_normalised(query)[:, self.genes].X.toarray())


def on_genes(fit: Callable, scaled: bool = True) -> Callable[[ad.AnnData, int, int], Fitted]:
    """A peer from a function (values, labels, seed) -> (values -> label and confidence)."""

    def peer(reference: ad.AnnData, seed: int, threads: int) -> Fitted:
        values = Normalised(reference, scaled)
        ask = fit(values.reference, reference.obs["label"].to_numpy(str), seed)
        return lambda query: ask(values(query))

    return peer


def most_probable(classifier) -> Callable:
    """A fitted classifier of scikit-learn as values -> its most probable label and the probability."""

    def ask(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probability = classifier.predict_proba(values)
        return classifier.classes_[probability.argmax(1)], probability.max(1)

    return ask


def logistic_regression(C: float) -> Callable:
    def fit(values: np.ndarray, labels: np.ndarray, seed: int) -> Callable:
        from sklearn.linear_model import LogisticRegression

        return most_probable(LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(values, labels))

    return fit


def linear_svm(values: np.ndarray, labels: np.ndarray, seed: int) -> Callable:
    """The labels are the SVM's own; the confidence is that label's Platt-scaled probability (three folds of the reference)."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    many = values.shape[1] > 500
    svm = LinearSVC(
        C=0.01 if many else 0.1, class_weight="balanced", dual=True if many else "auto", max_iter=3000, random_state=seed
    )
    scaled = CalibratedClassifierCV(svm, method="sigmoid", cv=3, ensemble=False).fit(values, labels)
    fitted = scaled.calibrated_classifiers_[0].estimator

    def ask(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        label = fitted.predict(values)
        column = np.searchsorted(scaled.classes_, label)
        return label, scaled.predict_proba(values)[np.arange(len(values)), column]

    return ask


def nearest_neighbours(metric: str) -> Callable:
    """15 neighbours in 50 principal components."""

    def fit(values: np.ndarray, labels: np.ndarray, seed: int) -> Callable:
        from sklearn.decomposition import PCA
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline

        components = min(50, values.shape[1] - 1, values.shape[0] - 1)
        neighbours = KNeighborsClassifier(min(15, len(labels)), metric=metric)
        return most_probable(make_pipeline(PCA(components, random_state=seed), neighbours).fit(values, labels))

    return fit


def perceptron(values: np.ndarray, labels: np.ndarray, seed: int) -> Callable:
    """One hidden layer of 128; stops early on a tenth of the reference where every type has cells for that."""
    from sklearn.neural_network import MLPClassifier

    # Numbers instead of names: with early stopping, scikit-learn 1.7 looks for NaN among the labels.
    types, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    early = bool(counts.min() >= 10)
    network = MLPClassifier(
        (128,), alpha=1e-2, batch_size=64, max_iter=60 if early else 30, early_stopping=early, random_state=seed
    )
    ask = most_probable(network.fit(values, codes))

    def named(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        code, confidence = ask(values)
        return types[code], confidence

    return named


def celltypist(feature_selection: bool) -> Callable[[ad.AnnData, int, int], Fitted]:
    """CellTypist trained on the reference. It selects features only of more than 300 genes; below, all are taken."""

    def peer(reference: ad.AnnData, seed: int, threads: int) -> Fitted:
        import celltypist as ct

        np.random.seed(seed)  # its feature selection draws from numpy's own generator
        normalised = log_normalised(reference)
        expressed = int((np.asarray(normalised.X.sum(0)).ravel() > 0).sum())
        select = feature_selection and expressed > 300
        model = ct.train(normalised, labels="label", n_jobs=threads, feature_selection=select)

        def ask(query: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
            found = ct.annotate(log_normalised(query), model=model, majority_voting=False)
            label = found.predicted_labels["predicted_labels"].astype(str).to_numpy()
            return label, found.probability_matrix.max(axis=1).to_numpy()

        return ask

    return peer


def scanvi(reference: ad.AnnData, seed: int, threads: int) -> Fitted:
    """scANVI on the reference; the query is then taken in by scArches surgery, so its labels depend on all its cells."""
    import scvi
    import torch

    torch.set_num_threads(threads)
    scvi.settings.seed = seed
    quiet = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
    genes = variable_genes(log_normalised(reference))
    reference = reference[:, genes].copy()
    reference = reference[np.asarray(reference.X.sum(1)).ravel() > 0].copy()
    pretraining, training = epochs(reference.n_obs, 1200, (25, 150)), epochs(reference.n_obs, 300, (10, 25))
    scvi.model.SCVI.setup_anndata(reference, batch_key="batch", labels_key="label")
    # The settings that scArches asks for: covariates are encoded, layers are normalised instead of batches.
    network = scvi.model.SCVI(
        reference,
        n_layers=1 if reference.n_obs < 3000 else 2,
        n_latent=20,
        dropout_rate=0.1,
        encode_covariates=True,
        use_layer_norm="both",
        use_batch_norm="none",
    )
    network.train(max_epochs=pretraining, batch_size=batch_size(reference.n_obs), **quiet)
    labelled = scvi.model.SCANVI.from_scvi_model(network, unlabeled_category=UNASSIGNED)
    labelled.train(max_epochs=training, n_samples_per_label=100, batch_size=batch_size(reference.n_obs), **quiet)

    def ask(query: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
        query = countable(query[:, genes].copy())
        query.obs["label"] = UNASSIGNED
        query.obs["batch"] = "query_" + query.obs["batch"].astype(str)
        surgery = scvi.model.SCANVI.load_query_data(query, labelled)
        surgery.train(
            max_epochs=epochs(query.n_obs, 400, (10, 50)),
            batch_size=batch_size(query.n_obs),
            plan_kwargs={"weight_decay": 0.0},
            check_val_every_n_epoch=10,
            **quiet,
        )
        probability = surgery.predict(soft=True)
        return probability.columns.to_numpy(str)[probability.to_numpy().argmax(1)], probability.to_numpy().max(1)

    return ask


def epochs(cells: int, steps: int, limits: tuple[int, int]) -> int:
    """Epochs that make about this many steps of 128 cells."""
    return int(np.clip(steps / np.ceil(cells / 128), *limits))


def batch_size(cells: int) -> int:
    return 128 if cells % 128 not in (1, 2) else 120  # a last batch of one cell cannot be normalised


def countable(cells: ad.AnnData) -> ad.AnnData:
    """Cells without a count over the variable genes get one: scVI divides by the sum."""
    empty = np.flatnonzero(np.asarray(cells.X.sum(1)).ravel() == 0)
    one = sp.csr_matrix((np.ones(len(empty), np.float32), (empty, np.zeros(len(empty), int))), shape=cells.shape)
    cells.X = sp.csr_matrix(cells.X + one)
    return cells


PEERS: dict[str, Callable[[ad.AnnData, int, int], Fitted]] = {
    "logistic_regression": on_genes(logistic_regression(1.0)),
    "logistic_regression_c001": on_genes(logistic_regression(0.01)),
    "linear_svm": on_genes(linear_svm),
    "knn": on_genes(nearest_neighbours("euclidean")),
    "knn_unscaled": on_genes(nearest_neighbours("euclidean"), scaled=False),
    "knn_cosine": on_genes(nearest_neighbours("cosine"), scaled=False),
    "mlp": on_genes(perceptron),
    "celltypist": celltypist(False),
    "celltypist_fs": celltypist(True),
    "scanvi": scanvi,
}
#: What a peer imports, done before the clock starts.
PACKAGES = {"celltypist": "celltypist", "celltypist_fs": "celltypist", "scanvi": "scvi-tools"}


def warm_up(method: str) -> None:
    """Imports what the peer needs."""
    import scanpy  # noqa: F401

    if method == "scanvi":
        import scvi  # noqa: F401
    elif method in PACKAGES:
        import celltypist  # noqa: F401
    else:
        import sklearn.calibration
        import sklearn.decomposition
        import sklearn.linear_model
        import sklearn.neighbors
        import sklearn.neural_network
        import sklearn.svm  # noqa: F401


def peak_mib() -> float:
    """The largest resident size that this process has had, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024


@click.command
@click.argument("method", type=click.Choice(list(PEERS)))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
def main(method: str, folder: Path, seed: int, threads: int) -> None:
    """Runs METHOD on the task in FOLDER."""
    warm_up(method)
    reference, query = ad.read_h5ad(folder / "reference.h5ad"), ad.read_h5ad(folder / "query.h5ad")
    start, cpu = time.perf_counter(), time.process_time()
    fitted = PEERS[method](reference, seed, threads)
    trained = time.perf_counter()
    label, confidence = fitted(query)
    asked, cpu_s = time.perf_counter(), time.process_time() - cpu
    table = pd.DataFrame({"cell": query.obs_names, "label": label, "confidence": confidence, "novelty": 1 - confidence})
    table.to_csv(folder / "predictions.csv", index=False)
    run = {"train_s": trained - start, "predict_s": asked - trained, "cpu_s": cpu_s, "peak_mib": peak_mib()}
    package = PACKAGES.get(method, "scikit-learn")
    (folder / "run.json").write_text(json.dumps(run | {"version": f"{package} {version(package)}"}))


if __name__ == "__main__":
    main()
