"""A SLURM of one node in one folder, with daemons that are this process's own children."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from processes import descendants, die_with_parent, free_port

DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = "slurmctld, slurmd, slurm-client and munge of Debian and Ubuntu"
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# SLURM wants a distinct character device for each GPU; these are on every Linux machine.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"

CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmdPort={slurmd_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is put back into the queue waits until its credential has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# More CPUs than the machine has may be claimed: jobs then wait for GPUs, not for cores.
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
MinJobAge=300
# Patience for a machine that has other work.
MessageTimeout=60
# Time for a training to keep its state.
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=usual Nodes={host} Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={host} PriorityTier=10 MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """The cluster cannot be started, or has lost a daemon."""


def missing_programs() -> list[str]:
    """Programs of SLURM and munge that are not installed."""
    return [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=SEARCH) is None]


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCH)
    if found is None:
        raise ClusterError(f"{name} is not installed")
    return found


class Cluster:
    """One munged, one slurmctld and one slurmd in ``folder``, which must be new or empty."""

    def __init__(self, folder: Path, gpus: int, cpus: int, memory_mb: int) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise ClusterError(f"{folder} is not empty: give a new folder")
        if not 0 < gpus <= len(DEVICES):
            raise ClusterError(f"{gpus} GPUs: between 1 and {len(DEVICES)} can be declared")
        self.folder = folder.resolve()
        # The kernel allows a socket 107 characters; munged adds a suffix for its lock.
        if len(str(self.folder / "munge.socket.lock")) > 107:
            raise ClusterError(f"{self.folder} is too long a path for a socket")
        self.gpus, self.cpus, self.memory_mb = gpus, cpus, memory_mb
        self.daemons: dict[int, str] = {}
        self.ended: dict[int, int] = {}
        self._idle: set[int] = set()  # the daemons and processes of theirs that stay
        # An object of subprocess that is dropped reaps its process; that is for look_after to do.
        self._kept: list[subprocess.Popen[bytes]] = []
        outside = {name: value for name, value in os.environ.items() if "SLURM" not in name}
        dropped = ("SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SCANCEL_")
        self.environment = {
            **{name: value for name, value in outside.items() if not name.startswith(dropped)},
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{SEARCH}",
        }

    def start(self) -> None:
        """Write the configuration and start the daemons; returns when the node is idle."""
        for name in ("state", "spool", "log", "devices", "bin"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        self._write_configuration()
        # Worth nothing to anybody outside, and with --force at home in any folder.
        self._launch(
            *("munged", "--foreground", "--force", "--num-threads=2"),
            f"--socket={self.folder}/munge.socket",
            f"--key-file={key}",
            f"--log-file={self.folder}/log/munged.log",
            f"--pid-file={self.folder}/munged.pid",
            f"--seed-file={self.folder}/munged.seed",
        )
        self._wait_for("munge's socket", (self.folder / "munge.socket").is_socket)
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D")
        self._wait_for("an idle node", lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle")
        self._idle = set(descendants())

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        taken: set[int] = set()
        text = CONFIGURATION.format(
            host=host,
            user=pwd.getpwuid(os.getuid()).pw_name,
            folder=self.folder,
            slurmctld_port=free_port(taken),
            slurmd_port=free_port(taken),
            gpus=self.gpus,
            cpus=self.cpus,
            memory_mb=self.memory_mb,
        )
        (self.folder / "slurm.conf").write_text(text)
        lines = ["AutoDetect=off"]
        for number, device in enumerate(DEVICES[: self.gpus]):
            path = self.folder / "devices" / f"gpu{number}"
            path.symlink_to(f"/dev/{device}")
            lines.append(f"NodeName={host} Name=gpu File={path} Flags=nvidia_gpu_env")
        (self.folder / "gres.conf").write_text("\n".join(lines) + "\n")
        # Inside a job Snakemake's executor drops every SLURM_ variable but the job's number, this
        # one too: the clients are given it again.
        for name in CLIENTS:
            wrapper = self.folder / "bin" / name
            setting = f"SLURM_CONF='{self.folder}/slurm.conf'"
            wrapper.write_text(f'#!/bin/sh\n{setting} exec {_program(name)} "$@"\n')
            wrapper.chmod(0o755)

    def _launch(self, name: str, *arguments: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("w") as output:
            daemon = subprocess.Popen(
                [_program(name), *arguments],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is not for the daemons
                preexec_fn=die_with_parent,
            )
        self.daemons[daemon.pid] = name
        self._kept.append(daemon)

    def _wait_for(self, what: str, there: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not there():
            self.look_after()
            if time.monotonic() > end:
                raise ClusterError(f"no {what} after {seconds:.0f} s; see {self.folder}/log")
            time.sleep(0.1)

    def ask(self, *command: str) -> str:
        """What a SLURM client prints; empty where it fails or takes more than five seconds."""
        try:
            done = subprocess.run(
                [_program(command[0]), *command[1:]],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    def look_after(self) -> None:
        """Reap what has ended; raises ClusterError when that was a daemon."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            self.ended[process] = os.waitstatus_to_exitcode(status)
            if process in self.daemons:
                raise ClusterError(f"{self.daemons[process]} has ended; see {self.folder}/log")

    def stop(self) -> None:
        """Cancel all jobs and end every process below this one, the gentle way first."""
        if "slurmctld" in self.daemons.values():
            self.ask("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
            self.wait_while(lambda: set(descendants()) - self._idle, 6.0)
        waiting, self.daemons = self.daemons, {}  # from here on their end is no fault
        for name in reversed(DAEMONS):
            for process in (p for p, called in waiting.items() if called == name):
                if process not in self.ended:
                    os.kill(process, signal.SIGTERM)
                    self.wait_while(lambda ours=process: ours not in self.ended, 5.0)
        while remaining := descendants():
            for process in remaining:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.look_after()
            time.sleep(0.05)

    def wait_while(self, unfinished: Callable[[], object], seconds: float) -> None:
        """Wait while ``unfinished`` is true; ends early when the time is over or a daemon dies."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and unfinished():
                self.look_after()
                time.sleep(0.05)
        except ClusterError:
            return
