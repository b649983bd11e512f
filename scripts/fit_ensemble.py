"""Stage fit_ensemble: the cross-fitted prior, the members' weights, the score."""

from pathlib import Path

from spinegrade.combine.outside import OutsideTable
from spinegrade.combine.stage import EnsembleInputs, EnsembleOutputs, EnsembleSettings, fit_ensemble
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Fit the ensemble on the graders' out-of-fold predictions."""
    pairs = zip(job.params.members, job.input.oof, job.input.new, strict=True)
    outside = zip(job.params.outside.items(), job.input.outside, strict=True)
    inputs = EnsembleInputs(
        labels=job.input.labels,
        studies=job.input.studies,
        predictions={name: [oof, new] for name, oof, new in pairs},
        floor=job.input.floor or None,
        outside={name: OutsideTable(path, normalise) for (name, normalise), path in outside},
    )
    fit_ensemble(
        inputs,
        folds=job.input.folds,
        outputs=EnsembleOutputs(**{name: Path(path) for name, path in job.output.items()}),
        settings=EnsembleSettings(**job.params.settings),
        region=region_named(job.params.region),
    )


run_stage(snakemake, main)
