#!/usr/bin/env bash
# Scores a tap on captures with known truth, which lie beside the repository (they are not part of it).
#   tools/corpus.sh TAP FOLDER     FOLDER has corpus/score.py and tls13/score.py
# Fails below CORPUS_FLOOR (corpus), where the client's authentication is judged wrong (tls13), or where a set of attacks
# (cases, stacks, review/redteam) has a harmful verdict or falls below the floor of its scorer's last line.
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

# scored NAME FLOOR COMMAND...: the last line of the output ends in the share that is right, and says how many are harmful or wrong.
scored() {
	local name=$1 floor=$2 out
	shift 2
	if [ ! -e "$2" ]; then
		echo "corpus: no $name at $2"
		return
	fi
	out=$("$@" || true)
	echo "$name:"
	tail -8 <<<"$out"
	awk -v name="$name" -v floor="$floor" '
		{ line = $0 }
		END { clean = line ~ /(^|, )0 (wrong|harmful)[,; ]/; share = line; sub(/.*: */, "", share)
			if (!clean || share !~ /^[01]\.[0-9]+$/ || share + 0 < floor) { print "corpus: " name ": something is wrong, or below the floor of " floor; exit 1 } }' <<<"$out"
}
scored cases 0.95 python3 "$folder/cases/score.py" "$tap"
scored stacks 0.97 python3 "$folder/stacks/score.py" "$tap" --loss
scored evasions 0.9 python3 "$folder/review/redteam/evade_score.py" "$tap"
