"""Stage apply_ensemble: the weights and the prior of a finished run, on new studies."""

from pathlib import Path

from spinegrade.combine.outside import OutsideTable
from spinegrade.combine.stage import (
    EnsembleInputs,
    EnsembleOutputs,
    EnsembleSettings,
    apply_ensemble,
)
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Combine the graders' predictions; nothing is fitted."""
    pairs = zip(job.params.members, job.input.oof, job.input.new, strict=True)
    outside = zip(job.params.outside.items(), job.input.outside, strict=True)
    inputs = EnsembleInputs(
        labels=job.input.labels,
        studies=job.input.studies,
        predictions={name: [oof, new] for name, oof, new in pairs},
        floor=job.input.floor or None,
        outside={name: OutsideTable(path, normalise) for (name, normalise), path in outside},
    )
    apply_ensemble(
        inputs,
        trained_weights=job.input.weights,
        outputs=EnsembleOutputs(**{name: Path(path) for name, path in job.output.items()}),
        settings=EnsembleSettings(**job.params.settings),
        region=region_named(job.params.region),
    )


run_stage(snakemake, main)
