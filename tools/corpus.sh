#!/usr/bin/env bash
# Scores a tap on captures with known truth, which lie beside the repository (they are not part of it).
#   tools/corpus.sh TAP FOLDER     FOLDER has corpus/score.py and tls13/score.py
# Fails below CORPUS_FLOOR (corpus), or where the client's authentication is judged wrong (tls13).
set -euo pipefail
tap=$1 folder=$2
if [ ! -e "$folder/corpus/score.py" ]; then
	echo "corpus: no captures at $folder/corpus: nothing to score"
	exit 0
fi

# score.py's own exit status asks for every check to hold; the floor is what has been reached and must not be lost.
out=$(python3 "$folder/corpus/score.py" "$tap" || true)
echo "$out"
awk -v floor="${CORPUS_FLOOR:-0.99}" '
	/^macro score/ { score = $3; seen = 1 }
	END { if (!seen || score < floor) { print "corpus: below the floor of " floor; exit 1 } }' <<<"$out"

[ ! -e "$folder/tls13/score.py" ] || python3 "$folder/tls13/score.py" "$tap"
