# Where a training runs, and each device's share of a batch; source it, do not run it.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for the --help of those who source this
DEVICES_HELP='  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  NPROC             processes on this machine, one a GPU (default: all its GPUs; on a CPU 1)
  NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT
                    several machines, as torchrun has them: start the same command on each, with
                    one folder for the results that all of them see. Under SLURM they are known:
                    srun --ntasks-per-node=1
  PRECISION         fp16 or fp32 (default: fp16 on GPUs)'

# find_devices: set each of these variables that the user did not set.
find_devices() {
  local gpus=0 name
  if [ "${DEVICE-}" != cpu ]; then
    gpus=$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())' 2>/dev/null) || gpus=0
  fi
  DEVICE=${DEVICE:-$([ "$gpus" -gt 0 ] && echo cuda || echo cpu)}
  [[ $DEVICE = cpu || $DEVICE = cuda ]] || wrong_call "DEVICE=$DEVICE: it is cuda or cpu"
  if [ "$DEVICE" = cuda ] && [ "$gpus" -eq 0 ] && [ -z "${DRY_RUN-}" ]; then
    die "DEVICE=cuda, but torch sees no GPU; leave DEVICE out to train on the CPU"
  fi
  if [ "$DEVICE" = cuda ]; then NPROC=${NPROC:-${SLURM_GPUS_ON_NODE:-$gpus}}; fi
  if [ "${NPROC:-0}" = 0 ]; then NPROC=1; fi
  NNODES=${NNODES:-${SLURM_NNODES:-1}}
  NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-0}}
  for name in NPROC NNODES; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || wrong_call "$name=${!name} is no positive number"
  done
  [[ $NODE_RANK =~ ^[0-9]+$ ]] && [ "$NODE_RANK" -lt "$NNODES" ] ||
    wrong_call "NODE_RANK=$NODE_RANK: with NNODES=$NNODES it is 0 to $((NNODES - 1))"
  if [ "$NNODES" -gt 1 ] && [ -z "${MASTER_ADDR-}" ]; then
    MASTER_ADDR=$(scontrol show hostnames "${SLURM_JOB_NODELIST-}" 2>/dev/null | head -n 1) ||
      wrong_call "NNODES=$NNODES needs MASTER_ADDR, the name of the first machine"
  fi
  PRECISION=${PRECISION:-$([ "$DEVICE" = cuda ] && echo fp16 || echo fp32)}
  [[ $PRECISION = fp16 || $PRECISION = fp32 ]] || wrong_call "PRECISION=$PRECISION: it is fp16 or fp32"
}

# share_batch TOKENS LARGEST: set `batch`, fairseq's options by which an update sees TOKENS on all
# devices together, with at most LARGEST of them on a device at once.
share_batch() {
  local devices=$((NPROC * NNODES)) share frequency
  [ $(($1 % devices)) -eq 0 ] ||
    die "$1 tokens an update do not divide among $devices devices; set NPROC and NNODES so that they do, or give --tokens-per-update"
  share=$(($1 / devices))
  frequency=$(((share + $2 - 1) / $2))
  while [ $((share % frequency)) -ne 0 ]; do frequency=$((frequency + 1)); done
  # shellcheck disable=SC2034
  batch=(--max-tokens $((share / frequency)) --update-freq "$frequency")
}

# keep_memory: let a training on a CPU reuse the memory of its large tensors, in large pages. glibc
# otherwise gives it back to the system, which hands it out anew page by page: with a dictionary of
# 10,000 types an update takes 1.4 times as long. Other C libraries do not look at the variable.
# It sets `loading`, options of fairseq-train: a worker would hold the pages that it was forked with.
keep_memory() {
  local name=glibc.malloc
  # shellcheck disable=SC2034
  loading=(--num-workers 0)
  export GLIBC_TUNABLES=${GLIBC_TUNABLES-$name.mmap_max=0:$name.trim_threshold=$((1 << 40)):$name.hugetlb=1}
}

# launch COMMAND...: set `launched`, the command with what starts it on every device.
#
# (`fairseq-train --bf16` means TPUs: fp16 is what its command line has for GPUs.)
launch() {
  local devices=$((NPROC * NNODES)) torchrun
  launched=("$@")
  if [ "$DEVICE" = cpu ]; then launched+=(--cpu); fi
  if [ "$PRECISION" = fp16 ]; then launched+=(--fp16); fi
  if [ "$devices" -eq 1 ]; then
    # Else fairseq starts a process for every GPU that it sees.
    if [ "$DEVICE" = cuda ]; then launched+=(--distributed-world-size 1); fi
    return
  fi
  torchrun=("$PYTHON" -m torch.distributed.run --nproc_per_node "$NPROC")
  if [ "$NNODES" -eq 1 ]; then
    torchrun+=(--standalone)
  else
    torchrun+=(--nnodes "$NNODES" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR"
      --master_port "${MASTER_PORT:-29500}")
  fi
  if [ "$DEVICE" = cuda ]; then
    launched=("${torchrun[@]}" "${launched[@]:1}")
  else
    # fairseq reads torchrun's environment by itself on GPUs only; on CPUs it is told.
    # shellcheck disable=SC2016
    launched=("${torchrun[@]}" --no-python bash -c 'exec "$@" --distributed-rank "$RANK"' -
      "${launched[@]}" --distributed-world-size "$devices" --distributed-init-method env://
      --distributed-no-spawn --distributed-backend gloo --ddp-backend legacy_ddp)
  fi
}
