from spinegrade.runtime.freshness import Freshness, set_clock

CLOCK = ".snakemake/spinegrade_clock"
# A job's own Snakemake (on a cluster) reads the clock of the run that sent it.
if workflow.is_main_process or not Path(CLOCK).exists():
    set_clock(CLOCK)
FRESHNESS = Freshness(workflow.get_rule, CLOCK, ancient)


def clock_of(rule):
    """Input function: makes a job stale whose outputs were made with other code or settings."""
    return FRESHNESS.clock_for(rule)


def settled(rule, paths):
    """Input function: a rewritten file alone does not rerun the rule; what it reads in it does.

    For tables of all studies, of which a digest of its own ones is in its params. ``paths`` is a
    path, a list of them, or a function of the wildcards.
    """
    return FRESHNESS.settled(rule, paths if callable(paths) else lambda wildcards: paths)


def fingerprint_of(rule):
    """Param function: the fingerprint that the rule's script leaves beside the results."""
    return FRESHNESS.param_for(rule)


def made_with(*rules, **wildcards):
    """Code and settings of the rules whose outputs a rule takes as ancient inputs."""
    return {name: FRESHNESS.made_with(name, **wildcards) for name in rules}
