"""What fitting the ensemble costs: 20 members, 1,975 studies, five folds, everything included.

    python benchmarks/ensemble_speed.py                       # made-up labels
    python benchmarks/ensemble_speed.py --train train.csv.gz  # the competition's
    python benchmarks/ensemble_speed.py --profile

Members are made up: noisy, correlated, differently good, over-confident or timid; a fifth of them
are outside tables (CSV) that serve one condition. Timed is the whole stage, from the tables on the
disk to the written ones, with and without leave-one-out. docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported: one core

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))
sys.path.insert(0, str(PROJECT / "benchmarks"))

from metric_reference import read_labels  # noqa: E402
from spinegrade.combine.outside import OutsideTable  # noqa: E402
from spinegrade.combine.stage import (  # noqa: E402
    EnsembleInputs,
    EnsembleOutputs,
    EnsembleSettings,
    fit_ensemble,
)
from spinegrade.regions.lumbar_mri import (  # noqa: E402
    CONDITIONS,
    GRADE_NAMES,
    LUMBAR_CELLS,
    LUMBAR_MRI,
)
from spinegrade.regions.region import Cell, row_id  # noqa: E402
from spinegrade.runtime.files import read_json  # noqa: E402
from spinegrade.runtime.seeds import generator  # noqa: E402
from spinegrade.tables.files import write_table  # noqa: E402
from spinegrade.tables.folds import FOLDS  # noqa: E402
from spinegrade.tables.labels import LABELS  # noqa: E402
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS  # noqa: E402
from spinegrade.tables.predictions import PREDICTIONS  # noqa: E402
from spinegrade.tables.studies import STUDIES  # noqa: E402

SHARES = {  # about those of the competition's train set
    CONDITIONS[0]: (0.87, 0.07, 0.06),
    CONDITIONS[1]: (0.77, 0.19, 0.04),
    CONDITIONS[2]: (0.70, 0.20, 0.10),
}


def made_up_labels(studies: int) -> pd.DataFrame:
    """All cells of ``studies`` studies, graded by the shares of their condition."""
    random = generator(0, "ensemble_speed", "labels")
    cells = pd.DataFrame(LUMBAR_CELLS)
    names = [str(10**6 + number) for number in range(studies)]
    labels = pd.concat([cells.assign(study=name) for name in names], ignore_index=True)
    grade = np.empty(len(labels), dtype=np.int64)
    for condition, shares in SHARES.items():
        of = (labels["condition"] == condition).to_numpy()
        grade[of] = random.choice(3, p=shares, size=of.sum())
    return labels.assign(grade=pd.array(grade, "Int64"))


def member_probabilities(
    labels: pd.DataFrame, quality: np.ndarray, heat: np.ndarray, common: float = 0.75
) -> np.ndarray:
    """Probabilities (members, n, 3) of members that see a grade through noise they partly share.

    Evidence for grade c is ``quality`` where c is true plus unit noise, of whose variance
    ``common`` is the same for all members; the posterior under weighted shares is raised to
    ``heat`` (above one: over-confident).
    """
    random = generator(1, "ensemble_speed", "members")
    grade = labels["grade"].fillna(0).to_numpy(dtype="int64")
    prior = np.array([SHARES[condition] for condition in labels["condition"]]) * (1, 2, 4)
    truth = np.eye(3)[grade]
    shared = np.sqrt(common) * random.standard_normal(truth.shape)
    found = []
    for good, hot in zip(quality, heat, strict=True):
        noise = shared + np.sqrt(1 - common) * random.standard_normal(truth.shape)
        logits = hot * (np.log(prior) + good * (good * truth + noise))
        chance = np.exp(logits - logits.max(axis=1, keepdims=True))
        found.append(chance / chance.sum(axis=1, keepdims=True))
    return np.array(found)


def write_run(folder: Path, labels: pd.DataFrame, members: int, folds: int) -> dict[str, dict]:
    """Write a cohort's tables and its members'; returns arguments of ``fit_ensemble``."""
    studies = sorted(labels["study"].unique())
    order = generator(2, "ensemble_speed", "folds").permutation(len(studies)) % folds
    fold = pd.Series(order, index=studies)
    table = pd.DataFrame({"study": studies, "split": "train", "region": "lumbar", "shard": 0})
    table = table.assign(series_count=3, problem=pd.array([None] * len(table), dtype="str"))
    write_table(folder / "studies.parquet", table, STUDIES)
    split = pd.DataFrame({"study": studies, "fold": order, "stratum": 0})
    write_table(folder / "folds.parquet", split, FOLDS)
    write_table(folder / "labels.parquet", labels, LABELS)
    spread = generator(3, "ensemble_speed", "quality")
    quality = spread.uniform(1.35, 1.75, members)
    values = member_probabilities(labels, quality, spread.uniform(0.7, 1.4, members))
    key = labels.drop(columns="grade").assign(fold=labels["study"].map(fold).astype("Int64"))
    ids = [row_id(study, Cell(*cell)) for study, *cell in
           key[["study", "condition", "level", "side"]].itertuples(index=False)]  # fmt: skip
    empty = key.iloc[:0].assign(classifier="", **dict.fromkeys(PROBABILITY_COLUMNS, 0.5))
    write_table(folder / "new.parquet", empty, PREDICTIONS)
    inside, outside = {}, {}
    for number, chance in enumerate(values):
        name = f"member_{number:02d}"
        if number % 5 == 4:
            rows = (key["condition"] == CONDITIONS[number // 5 % 3]).to_numpy()
            file = folder / f"{name}.csv"
            given = pd.DataFrame(chance, columns=list(GRADE_NAMES)).assign(row_id=ids)
            given[rows].to_csv(file, index=False, float_format="%.6f")
            outside[name] = OutsideTable(file)
            continue
        made = key.assign(classifier=name)
        made[list(PROBABILITY_COLUMNS)] = chance
        write_table(folder / f"{name}.parquet", made, PREDICTIONS)
        inside[name] = [str(folder / f"{name}.parquet"), str(folder / "new.parquet")]
    return {"predictions": inside, "outside": outside}


def main() -> None:
    """Time the stage for both blends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, help="train.csv of the competition, or .gz")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--studies", type=int, default=1975, help="of made-up labels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    chosen = parser.parse_args()
    labels = read_labels(chosen.train) if chosen.train else made_up_labels(chosen.studies)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tables = write_run(folder, labels, chosen.members, chosen.folds)
        inputs = EnsembleInputs(folder / "labels.parquet", folder / "studies.parquet", **tables)
        names = ("weights.json", "all.parquet", "prior.parquet", "filled.csv", "score.json")
        outputs = EnsembleOutputs(*(folder / name for name in names))
        print("| blend | leave one out | seconds | CPU seconds | score | equal weights |")
        print("|---|---|---|---|---|---|")
        for blend in ("probabilities", "logits"):
            for leave_one_out in (False, True):
                profile = cProfile.Profile()
                if chosen.profile:
                    profile.enable()
                began, used = time.perf_counter(), time.process_time()
                fit_ensemble(
                    inputs,
                    folder / "folds.parquet",
                    outputs=outputs,
                    settings=EnsembleSettings(blend=blend, leave_one_out=leave_one_out),
                    region=LUMBAR_MRI,
                )
                wall, cpu = time.perf_counter() - began, time.process_time() - used
                profile.disable()
                score = read_json(outputs.score)
                totals = (score[key]["total"] for key in ("ensemble", "equal_weights"))
                print(
                    f"| {blend} | {'yes' if leave_one_out else 'no'} | {wall:.1f} | {cpu:.1f} | "
                    + " | ".join(f"{total:.4f}" for total in totals)
                    + " |",
                    flush=True,
                )
                if chosen.profile:
                    pstats.Stats(profile).sort_stats("tottime").print_stats(22)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    alone = ", ".join(f"{part['total']:.3f}" for part in score["classifiers"].values())
    print(f"members alone: {alone}; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
