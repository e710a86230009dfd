#!/usr/bin/env bash
# Quantize with several processes on this machine, one a GPU:
#   tools/dist_ptq.sh CONFIG GPUS [what tools/ptq.py takes ...]
# On several machines, on each with its own NODE_RANK:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.1.1.1 PORT=29500 tools/dist_ptq.sh CONFIG GPUS ...
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 CONFIG GPUS [what tools/ptq.py takes ...]" >&2; exit 2; }
CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}

exec python -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/ptq.py" "$CONFIG" --launcher pytorch "${@:3}"
