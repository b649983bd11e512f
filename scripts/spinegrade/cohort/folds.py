"""The folds of a cohort: by study, by a hash that is not stratified, and fixed for good.

A study's fold must not move when other studies join, or results from before and after could
not be compared. That alone decides the form of the rule: if the fold of a study is the same in
every cohort that holds it, it is the same in the cohort of that study alone, so it can depend
on nothing but the study. Any rule that looks at the others (dealing out in sorted order, the
emptiest fold first) moves studies. What is left is a hash of the id, whose folds are as uneven
as chance: of 48 studies in 3 folds one fold holds less than 60 % of its share in one cohort of
sixteen.

The way out is the salt of the hash: a number of the configuration, chosen once where chance
was unkind and kept from then on. ``suggest_salt`` finds one under which all folds have their
share of every severity stratum; ``split_folds`` names it in a warning when the balance is
poor, and never takes it by itself, since a salt that followed the data would move studies.
The stratum serves to judge the balance and is no part of the hash: a corrected label does not
move its study either.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from spinegrade.cohort.csv_file import read_csv_file
from spinegrade.cohort.fold_rule import fold_of
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import snake
from spinegrade.errors import SpinegradeError

_LOGGER = logging.getLogger("spinegrade")
POOR_BALANCE = 0.6
SALTS_TRIED = 2000


def severity_strata(labels: pd.DataFrame) -> pd.Series:
    """Severity stratum 0 .. 3 by study (index: study, sorted), from a table of labels.

    0: no severe cell, at most two moderate; 1: no severe cell, three moderate or more;
    2: one or two severe cells; 3: three severe cells or more. Cells without a grade count as
    neither. In the RSNA 2024 train set these are 584, 411, 488 and 492 studies.
    """
    grades = labels.assign(
        severe=(labels["grade"] == 2).fillna(False).astype(bool),
        moderate=(labels["grade"] == 1).fillna(False).astype(bool),
    )
    counts = grades.groupby("study")[["severe", "moderate"]].sum()
    strata = np.select(
        [counts["severe"] >= 3, counts["severe"] >= 1, counts["moderate"] >= 3], [3, 2, 1], 0
    )
    return pd.Series(strata, index=counts.index, name="stratum")


def balance(fold: np.ndarray, stratum: np.ndarray, folds: int) -> float:
    """The worst share: least (studies of a fold) / (mean over folds), 1.0 at best.

    ``fold`` and ``stratum`` (n,) integers. Taken over all studies and over each stratum, where
    a stratum is judged to the nearest whole study: a fold is short only by what it lacks of
    the mean rounded down.
    """
    shares = [np.bincount(fold, minlength=folds).min() * folds / len(fold)]
    for number in np.unique(stratum):
        counts = np.bincount(fold[stratum == number], minlength=folds)
        fair = counts.sum() // folds
        if fair:
            shares.append(min(1.0, counts.min() / fair))
    return float(min(shares))


def suggest_salt(strata: pd.Series, folds: int, tried: int = SALTS_TRIED) -> tuple[int, float]:
    """The first of the salts 0 .. ``tried`` - 1 with the best ``balance``, and that balance."""
    best = (0, -1.0)
    stratum = strata.to_numpy()
    for salt in range(tried):
        fold = np.array([fold_of(study, folds, salt) for study in strata.index])
        reached = balance(fold, stratum, folds)
        if reached > best[1]:
            best = (salt, reached)
        if reached == 1.0:
            break
    return best


def read_folds(path: str | Path, known: list[str], folds: int) -> pd.Series:
    """Folds by study from a user's CSV with columns study (or study_id) and fold.

    Raises SpinegradeError listing every fault: a study of ``known`` that is absent, one that
    is not in ``known``, one that stands twice (in one fold or in two), a fold that is not a
    whole number from 0 to ``folds`` - 1, and a fold that is left empty.
    """
    path = Path(path)
    problems = Problems()

    def rename(column: str) -> str:
        return "study" if snake(column) == "study_id" else snake(column)

    file = read_csv_file(path.parent, path.name, ("study", "fold"), problems, rename)
    found: dict[str, int] = {}
    lines: dict[str, int] = {}
    allowed = f"allowed: 0 to {folds - 1} (cohort.folds is {folds})"
    for line, (study, text) in file.records(("study", "fold")) if file else ():
        if not (text.isascii() and text.isdigit() and int(text) < folds):
            detail = f"line {line}, study {study}, fold is {text!r}; {allowed}"
            problems.add(f"{path.name}: unknown fold", detail)
            continue
        if study in found:
            both = f"fold {found[study]} (line {lines[study]}) and fold {text} (line {line})"
            detail = f"study {study} is in {both}; allowed: once, in one fold"
            problems.add(f"{path.name}: study named twice", detail)
            continue
        found[study], lines[study] = int(text), line
    if file:
        train = set(known)
        for study in sorted(found.keys() - train):
            detail = f"line {lines[study]}, study {study}; allowed: the studies of train.csv"
            problems.add(f"{path.name}: unknown study", detail)
        named = {values[0] for _, values in file.records(("study",))}
        for study in sorted(train - named):
            detail = f"study {study} of train.csv has no row; every train study needs a fold"
            problems.add(f"{path.name}: study without a fold", detail)
    problems.raise_if_any(f"the folds of {path}")
    return pd.Series(found, name="fold").reindex(sorted(known))


def split_folds(
    studies: pd.DataFrame,
    labels: pd.DataFrame,
    folds: int,
    salt: int = 0,
    folds_file: str | Path | None = None,
) -> pd.DataFrame:
    """The table ``folds`` (study, fold, stratum) of all train studies, sorted by study.

    ``studies`` and ``labels`` are tables of those kinds. Studies without images get a fold
    too, since their cells are scored. With ``folds_file`` the folds come from there. Logs the
    balance. Raises SpinegradeError where fewer studies than folds have images, or where a
    fold would hold none of them; the message names a salt that helps, if there is one.
    """
    train = studies[studies["split"] == "train"].sort_values("study")
    usable = set(train.loc[train["problem"].isna(), "study"])
    if len(usable) < folds:
        raise SpinegradeError(
            f"cohort.folds is {folds}, but only {len(usable)} train studies have images; "
            f"allowed: 2 to {len(usable)} folds; name fewer, or add studies",
            code="FOLDS_TOO_MANY",
            key="cohort.folds",
        )
    strata = severity_strata(labels).loc[train["study"]]
    if folds_file:
        fold = read_folds(folds_file, list(strata.index), folds)
    else:
        values = [fold_of(study, folds, salt) for study in strata.index]
        fold = pd.Series(values, index=strata.index)
    table = pd.DataFrame(
        {"study": strata.index, "fold": fold.to_numpy(), "stratum": strata.to_numpy()}
    )
    _check_balance(table[table["study"].isin(usable)], folds, salt, folds_file)
    return table


def _check_balance(
    table: pd.DataFrame, folds: int, salt: int, folds_file: str | Path | None
) -> None:
    counts = np.bincount(table["fold"], minlength=folds)
    reached = balance(table["fold"].to_numpy(), table["stratum"].to_numpy(), folds)
    per_stratum = pd.crosstab(table["stratum"], table["fold"])
    _LOGGER.info(
        "studies in use by fold: %s; balance over folds and strata %.2f (1 is even)\n%s",
        ", ".join(map(str, counts)),
        reached,
        per_stratum.to_string(),
    )
    empty = [str(number) for number in np.flatnonzero(counts == 0)]
    if not empty and reached >= POOR_BALANCE:
        return
    advice = f"spread the studies more evenly in {folds_file}"
    if not folds_file:
        better, share = suggest_salt(table.set_index("study")["stratum"], folds)
        advice = f"cohort.fold_salt: {better} (now {salt}) gives a balance of {share:.2f}"
        advice += "; set it once, before the first training, and keep it"
    if empty:
        raise SpinegradeError(
            f"fold {', '.join(empty)} of {folds} holds no train study with images; {advice}",
            code="FOLDS_EMPTY",
        )
    _LOGGER.warning("the folds are uneven (balance %.2f): %s", reached, advice)
