"""A real SLURM cluster on this machine: virtual nodes with claimed CPUs and false GPUs, preemption, accounting.

Debian's packages suffice, without systemd and cgroups: every daemon is a child of this process, with its files in one
folder and ports of its own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
PACKAGES = (
    "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurmdbd mariadb-server-core mariadb-client-core"
)
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
GRACE = 20  # seconds between the notice of a preemption and the end

# Quick where a site would be patient. A node that does not answer for 5 s is down.
SLURM = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,bf_yield_interval=100000
KillWait=5
SlurmdTimeout=5
SlurmctldTimeout=10
InactiveLimit=0
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
{nodes}
PartitionName=main Nodes=n1 Default=YES
PartitionName=frail Nodes=n2,n3
PartitionName=low Nodes=n4 PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=urgent Nodes=n4 PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:4"
)
DBD = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass={password}
"""
MARIADB = """
[mariadbd]
user=root
datadir={folder}/db
socket={folder}/sql.socket
pid-file={folder}/mariadb.pid
bind-address=127.0.0.1
port={sql}
skip-name-resolve
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
"""
GRANT = """
create database slurm_acct_db;
create user 'slurm'@'127.0.0.1' identified by '{password}';
grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';
"""


@dataclass(frozen=True)
class Cluster:
    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]]


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.getuid() != 0:
        return "SLURM's daemons need root"
    absent = [name for name in DAEMONS if shutil.which(name, path=PLACES) is None]
    return f"no {', '.join(absent)} here: apt-get install --no-install-recommends {PACKAGES}" if absent else None


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster with its files in `folder`, idle and answering; SLURM's commands find it by SLURM_CONF. At the end its
    jobs are killed and its daemons stopped."""
    here = Cluster(folder, {})
    try:
        _start(here)
        yield here
    finally:
        _stop(here)


def slurm(*command: str) -> str:
    """What a command of SLURM says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def answers(*command: str) -> bool:
    """Whether a command does what it is asked."""
    return subprocess.run(command, capture_output=True, timeout=20).returncode == 0


def until(holds: Callable[[], object], seconds: float = 180, what: str = "") -> None:
    """Wait for something to hold. Raises TimeoutError, with `what` was waited for."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what or holds}")
        time.sleep(0.3)


def step_daemons(job: str) -> list[int]:
    """SLURM's processes that look after a job on its node: they name themselves by it, as `slurmstepd: [7.batch]`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            named = path.read_bytes().startswith(f"slurmstepd: [{job}.".encode())
            if named and os.environ["SLURM_CONF"].encode() in (path.parent / "environ").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just ended
    return found


def kill_node(here: Cluster, node: str, job: str) -> None:
    """The death of a node, as SLURM sees it: nobody there answers any more. The processes of `job` go on unwatched."""
    for pid in (here.daemons[node].pid, *step_daemons(job)):
        os.kill(pid, signal.SIGKILL)


def _start(here: Cluster) -> None:
    folder, host = here.folder, socket.gethostname().split(".")[0]
    ctld, dbd, sql, *nodes = _free_ports(7)
    names = {f"n{i}": port for i, port in enumerate(nodes, start=1)}
    facts = {"folder": folder, "host": host, "ctld": ctld, "dbd": dbd, "sql": sql, "grace": GRACE}
    facts["password"] = secrets.token_hex(8)
    facts["nodes"] = "\n".join(NODE.format(name=name, host=host, port=port) for name, port in names.items())
    for name in ("state", "db", *(f"spool/{name}" for name in names)):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    _write(folder / "munge.key", secrets.token_bytes(1024))
    for gpu in range(4):  # SLURM takes nothing but device files for GPUs
        subprocess.run(["mknod", "-m", "666", folder / f"gpu{gpu}", "c", "1", "3"], check=True)
    _write(folder / "slurm.conf", SLURM.format(**facts).encode())
    _write(folder / "gres.conf", f"NodeName=n[1-4] Name=gpu File={folder}/gpu[0-3]\n".encode())
    _write(folder / "slurmdbd.conf", DBD.format(**facts).encode())
    _write(folder / "mariadb.conf", MARIADB.format(**facts).encode())
    os.environ.update(SLURM_CONF=str(folder / "slurm.conf"), PATH=PLACES)

    munge = [
        f"--{option}={folder}/munge.{option.split('-')[0]}" for option in ("key-file", "socket", "pid-file", "log-file")
    ]
    _daemon(here, "munged", "munged", "-F", "--force", *munge, f"--seed-file={folder}/munge.seed")
    until(lambda: answers("munge", "-n", "-S", f"{folder}/munge.socket"), what="munge")
    install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={folder}/db", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
    _daemon(here, "mariadbd", "mariadbd", f"--defaults-file={folder}/mariadb.conf")
    query = ("mariadb", "--no-defaults", "-uroot", "-S", f"{folder}/sql.socket", "-e")
    until(lambda: answers(*query, "select 1"), what="mariadb")
    slurm(*query, GRANT.format(**facts))
    _daemon(here, "slurmdbd", "slurmdbd", "-D")
    until(lambda: answers("sacctmgr", "-n", "show", "cluster"), what="slurmdbd")
    slurm("sacctmgr", "-i", "add", "cluster", "lab")
    _daemon(here, "slurmctld", "slurmctld", "-D")
    until(lambda: answers("scontrol", "ping"), what="slurmctld")
    for name in names:
        _daemon(here, name, "slurmd", "-D", "-N", name)
    until(lambda: set(slurm("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, what="idle nodes")


def _stop(here: Cluster) -> None:
    """Jobs first, then the nodes, then what they talk to."""
    if "slurmctld" in here.daemons:
        jobs = slurm("squeue", "-h", "-o", "%A").split()
        for command in (["scancel", "--signal=KILL", "--full", *jobs], ["scancel", *jobs]):
            if jobs:
                subprocess.run(command, capture_output=True, timeout=60)
        until(lambda: not any(step_daemons(job) for job in jobs), what="the jobs' end")
    for name in [*(name for name in here.daemons if name.startswith("n")), *reversed(DAEMONS)]:
        if name in here.daemons:
            here.daemons[name].terminate()
            try:
                here.daemons[name].wait(20)
            except subprocess.TimeoutExpired:
                here.daemons[name].kill()
                here.daemons[name].wait()


def _daemon(here: Cluster, name: str, *command: str) -> None:
    with open(here.folder / f"{name}.log", "ab") as log:
        here.daemons[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=here.folder, start_new_session=True
        )


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
