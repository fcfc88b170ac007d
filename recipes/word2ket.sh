# What the recipes of word2ket share (dissertation, section 3.5): models, setting. Source it.
# shellcheck shell=bash disable=SC2034,SC2154 # for, and from, experiment.sh and the recipe

# shellcheck source-path=SCRIPTDIR source=experiment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/experiment.sh"

# The default orders and ranks are those of table 1 for "over 100-fold" and for 16-fold less.
models=(word2ketxs word2ket dense)
models_help='  --model NAME      embeddings: word2ketxs (default), word2ket, or dense with the very same flags
  --order N         of the tensor products (default 2; word2ket 4)
  --rank N          how many of them are summed (default 10; word2ket 1)'
own_options=(--order --rank)
order='' rank='' study=word2ket-

# The best epoch on validation counts, as in the dissertation; by its loss, where the authors' code
# goes by BLEU or ROUGE.
take=best

# Dropout is the dissertation's. It does not name the optimizer: Adam at a constant 1e-3, with
# neither label smoothing nor weight decay, is what the authors' code has.
setting=(--dropout 0.2 --lr 1e-3 --lr-scheduler fixed --warmup-updates 0 --adam-betas '(0.9, 0.999)'
  --weight-decay 0 --label-smoothing 0)

flags_of_model() {
  local family=word2ketxs
  case $model in
    dense)
      [ -z "$order$rank" ] || wrong_call "--order and --rank are no options of --model dense"
      label=dense model_flags=(--embed-rank dense)
      return
      ;;
    word2ket) # LayerNorm at each node of the tree is the dissertation's (section 3.3.3)
      family=word2ket/norm=1 order=${order:-4} rank=${rank:-1}
      ;;
  esac
  order=${order:-2} rank=${rank:-10}
  label=$model-order$order-rank$rank
  model_flags=(--factorization "$family/order=$order" --embed-rank "$rank")
}
