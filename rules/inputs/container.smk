import os

from snakemake.settings.types import DeploymentMethod

from spinegrade.runtime.containers import container_image, show_in_container

# Without --sdm apptainer no rule knows of a container.
if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    show_in_container(os.environ, PROJECT, [config["cohort"]["root"] or ".", TRAINED])

    container: container_image(config["runtime"]["container"], PROJECT)
