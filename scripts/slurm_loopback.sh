#!/usr/bin/env bash
# A Slurm of one node on this machine's loopback, for tests: no systemd, no accounting, all of it below one folder.
# usage: slurm_loopback.sh start|stop DIR    (root; Debian's packages slurm-wlm and munge)
# Then `export SLURM_CONF=DIR/slurm.conf` and use sbatch, squeue, scancel as on a cluster.
set -euo pipefail
action=$1 dir=$2
export SLURM_CONF=$dir/slurm.conf
socket=$dir/munge/socket

wait_for() { # COMMAND...: until it succeeds, 20 seconds at most
  for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
  echo "slurm_loopback: waited in vain for: $*" >&2
  return 1
}

alive() { # NAME...: the processes of this Slurm that bear one of these names; "job" is any process of a job
  local environ name
  for environ in $(grep -lzxFs "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ); do
    { read -r name < "${environ%environ}comm"; } 2>/dev/null || continue
    if grep -qzs ^SLURM_JOB_ID= "$environ"; then name+=" job"; fi
    for each in $name; do [[ " $* " != *" $each "* ]] || { echo "${environ//[^0-9]/}"; break; }; done
  done
}

end() { # NAME...: wait until these have gone; after 20 seconds, kill them
  local left
  for _ in $(seq 100); do
    left=$(alive "$@"); [ -n "$left" ] || return 0
    sleep 0.2
  done
  echo "slurm_loopback: killed, for they did not end by themselves: $(ps -o pid=,args= -p ${left//$'\n'/,} | tr '\n' ';')" >&2
  kill -9 $left 2>/dev/null || true
  for _ in $(seq 100); do [ -n "$(alive "$@")" ] || return 0; sleep 0.1; done
  return 1
}

end_daemons() { # NAME...: by their signal; `scontrol shutdown` may leave slurmd behind
  local running
  running=$(alive "$@"); [ -n "$running" ] || return 0
  kill $running 2>/dev/null || true
  end "$@"
}

node_is_idle() { sinfo --noheader --format=%T | grep -qx idle; }

free_ports() {
  python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in held))'
}

write_config() {
  local host controller node
  host=$(hostname -s)
  read -r controller node < <(free_ports)
  cat > "$SLURM_CONF" <<CONFIG
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job begins again once its old credential has expired.
AuthInfo=socket=$socket,cred_expire=5
StateSaveLocation=$dir/controller
SlurmdSpoolDir=$dir/node
SlurmctldPidFile=$dir/controller.pid
SlurmdPidFile=$dir/node.pid
SlurmctldLogFile=$dir/controller.log
SlurmdLogFile=$dir/node.log
# Without systemd's control groups, processes are followed by their parents.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc)
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONFIG
}

case $action in
  start)
    mkdir -p "$dir/controller" "$dir/node" "$dir/munge"
    chmod 755 "$dir" "$dir/munge"
    chown munge: "$dir/munge"
    dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
    chown munge: "$dir/munge/key"; chmod 400 "$dir/munge/key"
    write_config
    setpriv --reuid munge --regid munge --clear-groups \
      munged --key-file="$dir/munge/key" --socket="$socket" --pid-file="$dir/munge/pid" \
      --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    slurmctld
    slurmd
    wait_for node_is_idle ;;
  stop) # nothing of it is left when this returns, so that its folder can be removed
    scancel --state=PENDING --user=root || true
    scancel --user=root || true
    end job slurmstepd srun
    end_daemons slurmd
    end_daemons slurmctld slurmscriptd
    end_daemons munged ;;
  *) echo "usage: slurm_loopback.sh start|stop DIR" >&2; exit 2 ;;
esac
