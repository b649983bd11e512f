"""Stage crop_rois: crops of one roi set and shard around the keypoints."""

from spinegrade.crop.build import write_shard
from spinegrade.crop.settings import roi_set_from_config
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Crop the shard and write its array and its table."""
    region = region_named(job.params.region)
    write_shard(
        roi_set=roi_set_from_config(job.wildcards.roi_set, job.params.roi_set, region),
        keypoints=job.input.keypoints,
        stacks=job.input.stacks,
        labels=job.input.labels,
        folds=job.input.folds or None,
        errors=job.input.errors,
        array=job.output.array,
        table=job.output.table,
        region=region,
    )


run_stage(snakemake, main)
